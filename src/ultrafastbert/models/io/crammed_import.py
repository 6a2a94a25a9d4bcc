"""Published checkpoints as folders of ours; `crammed_export` is the way back."""

from pathlib import Path

from transformers import PreTrainedConfig

from ultrafastbert import models
from ultrafastbert.data.tokenizer import FILES, copy_tokenizer
from ultrafastbert.models.io.checked_loading import local_folder
from ultrafastbert.models.io.crammed_config import is_crammed, to_fields
from ultrafastbert.runs import run_folder


def import_checkpoint(
    source: str | Path, out_dir: str | Path, use_safetensors: bool = True
) -> models.UltraFastBertModel:
    """Write a published UltraFastBERT or crammedBERT as a folder of ours; return the model.

    Args:
        source: folder or hub name of a checkpoint in the published format.
        out_dir: new folder; tokenizer files are copied, too.
        use_safetensors: False reads pickled weights, of which only tensors are loaded.

    Raises:
        OSError: for missing files, and FileExistsError if `out_dir` is not empty.
        ValueError: for another format, a damaged one, or one with options that are not supported.
    """
    if not Path(source).is_dir() and (Path(source).is_absolute() or str(source).startswith(".")):
        raise FileNotFoundError(f"{source} is not a folder, nor the name of a model on the hub")
    stored, _ = PreTrainedConfig.get_config_dict(source)
    if not is_crammed(stored):
        raise ValueError(
            f"{source} has model_type={stored.get('model_type')!r}; import reads published "
            "UltraFastBERT and crammedBERT models, with model_type='crammedBERT'"
        )
    architectures = to_fields(stored)["architectures"]
    if architectures is None:
        raise ValueError(f"config.json of {source} names no architectures, so no head to import")
    with run_folder.new_folder(Path(out_dir)) as folder:
        model_class = getattr(models, architectures[0])
        model = model_class.from_pretrained(source, use_safetensors=use_safetensors)
        model.save_pretrained(folder)
        copy_tokenizer(local_folder(source, list(FILES)), folder)
    return model
