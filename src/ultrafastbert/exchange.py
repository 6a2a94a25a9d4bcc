"""Published checkpoints into folders of ours, and ours into the published format."""

import shutil
from pathlib import Path

from transformers import PreTrainedConfig

from ultrafastbert import models, run_folder
from ultrafastbert.checkpoints import crammed
from ultrafastbert.checkpoints.crammed_config import is_crammed, to_fields
from ultrafastbert.models.loading import local_folder

TOKENIZER_FILES = (
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.txt",
)


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
        _copy_tokenizer(local_folder(source, list(TOKENIZER_FILES)), folder)
    return model


def export_crammed(folder: str | Path, out_dir: str | Path) -> None:
    """Write a model of ours in the published format, for the software that made it.

    Raises OSError for missing files, FileExistsError if `out_dir` is not empty, ValueError for a
    model that the format cannot hold.
    """
    fields = models.UltraFastBertConfig.from_pretrained(folder).to_dict()
    crammed.check_expressible(fields)
    with run_folder.new_folder(Path(out_dir)) as out:
        model = getattr(models, fields["architectures"][0]).from_pretrained(folder)
        crammed.write(out, fields, model.state_dict())
        _copy_tokenizer(local_folder(folder, list(TOKENIZER_FILES)), out)


def _copy_tokenizer(source: Path, folder: Path) -> None:
    for name in TOKENIZER_FILES:
        if (source / name).is_file():
            shutil.copyfile(source / name, folder / name)
