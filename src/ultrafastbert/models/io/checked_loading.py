"""`from_pretrained` of our classes: reads published layouts too, refuses incomplete weights."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch
from huggingface_hub import snapshot_download
from safetensors import SafetensorError
from transformers import PreTrainedConfig, PreTrainedModel

from ultrafastbert.fff.quantization import check_weight_dtype
from ultrafastbert.models.bert.configuration import UltraFastBertConfig
from ultrafastbert.models.io import crammed_folder
from ultrafastbert.models.io.crammed_config import is_crammed, to_fields
from ultrafastbert.models.io.tensor_files import some_names
from ultrafastbert.models.quantized import settle_weight_dtype

# Where a checkpoint is found.
HUB_OPTIONS = ("cache_dir", "force_download", "local_files_only", "revision", "subfolder", "token")


class CheckedLoading(PreTrainedModel):
    """A model whose `from_pretrained` reads published checkpoints too, and checks weights."""

    @classmethod
    def from_pretrained(
        cls,
        pretrained_model_name_or_path: Any,
        *args: Any,
        weight_dtype: str | None = None,
        exact_routing: bool = False,
        **options: Any,
    ) -> Any:
        """Load a model from a folder or the hub: one of ours, or a published UltraFastBERT or
        crammedBERT.

        Weights may be missing only in a head that the saved model did not have; these are drawn at
        random. `weight_dtype` quantizes fast feedforward layers, see `quantize_`. Pickled weights
        are read only with `use_safetensors=False`. Other options are Hugging Face's.

        Raises:
            OSError: for missing files.
            ValueError: for options that do not fit, and weights that are missing, damaged, of
                another size or not finite.
        """
        check_weight_dtype(weight_dtype)
        path, wants_info = pretrained_model_name_or_path, options.pop("output_loading_info", False)
        if path is None:  # config and state_dict are given
            return super().from_pretrained(None, *args, output_loading_info=wants_info, **options)
        if options.get("use_safetensors") is None:
            options["use_safetensors"] = True
        hub = {name: options[name] for name in HUB_OPTIONS if name in options}
        stored, _ = PreTrainedConfig.get_config_dict(path, **hub)
        saved_as: Iterable[str] = stored.get("architectures") or ()
        if is_crammed(stored):
            saved_as = _use_published(path, stored, hub, options)
            source = None
        else:
            _check_stored(stored, path)
            weight_dtype, exact_routing = settle_weight_dtype(
                path, UltraFastBertConfig, hub, options, weight_dtype, exact_routing
            )
            source = path
        model, info = cls._load_checked(path, source, saved_as, args, options)
        if weight_dtype:
            model.quantize_(weight_dtype, exact_routing)
        return (model, info) if wants_info else model

    @classmethod
    def _load_checked(
        cls,
        path: Any,
        source: Any,
        saved_as: Iterable[str],
        args: tuple[Any, ...],
        options: dict[str, Any],
    ) -> tuple[Any, dict[str, Any]]:
        """Load what `path` holds and compare sizes, names and values with the model's.

        `source` is None where the options hold the weights already, `saved_as` the class's names.
        """
        # Sizes are compared here, where the error can name them.
        any_size = options.pop("ignore_mismatched_sizes", False)
        options |= {"output_loading_info": True, "ignore_mismatched_sizes": True}
        try:
            loaded: Any = super().from_pretrained(source, *args, **options)
        except SafetensorError as error:
            raise ValueError(f"the weights in {path} are damaged: {error}") from error
        model, info = loaded
        if info["mismatched_keys"] and not any_size:
            sizes = _sizes(info["mismatched_keys"])
            raise ValueError(f"the weights in {path} do not fit its config.json: {sizes}")
        _check_complete(model, info["missing_keys"], cls.__name__ in saved_as, path)
        if source is not None:  # tensors of a published layout were looked at as they were read
            _check_finite(model, path)
        return model, info


def _check_stored(stored: dict[str, Any], path: Any) -> None:
    """Raise ValueError for a config.json of another kind of model, or of no dtype."""
    found, known = stored.get("model_type"), UltraFastBertConfig.model_type
    if found != known:
        raise ValueError(f"{path} has a model of model_type={found!r}; this class reads {known!r}")
    dtype = stored.get("dtype") or stored.get("torch_dtype") or "float32"
    if not isinstance(dtype, str) or not isinstance(getattr(torch, dtype, None), torch.dtype):
        raise ValueError(f"config.json of {path} has dtype={dtype!r}, which is none of PyTorch's")


def _use_published(
    path: Any, stored: dict[str, Any], hub: dict[str, Any], options: dict[str, Any]
) -> list[str]:
    """Put config and weights of a published layout into the options; return its architectures."""
    UltraFastBertConfig(**to_fields(stored))  # sizes are checked before tensors are
    safe = options.pop("use_safetensors")
    suffix = "safetensors" if safe else "bin"
    folder = local_folder(path, [f"*.{suffix}", f"*.{suffix}.index.json"], hub)
    checkpoint = crammed_folder.read(folder, stored, safe)
    fields = dict(checkpoint.fields)
    file_labels = fields.pop("num_labels", None)
    config, asked = options.pop("config", None), options.get("num_labels")
    for name in hub:
        options.pop(name)
    if not isinstance(config, UltraFastBertConfig):
        config, rest = UltraFastBertConfig.from_dict(fields, return_unused_kwargs=True, **options)
        options.clear()
        options.update(rest)
    by_default = not asked and config.num_labels == PreTrainedConfig().num_labels
    if file_labels and by_default and not options.get("ignore_mismatched_sizes"):
        config.num_labels = file_labels
    config.name_or_path = str(path)
    options |= {"config": config, "state_dict": checkpoint.state}
    return checkpoint.fields["architectures"]


def local_folder(path: Any, patterns: list[str], hub: dict[str, Any] | None = None) -> Path:
    """Return the local folder of a checkpoint; from the hub, files of the patterns come first."""
    rest = dict(hub or {})
    subfolder = rest.pop("subfolder", None) or ""
    if Path(path).is_dir():
        return Path(path) / subfolder
    wanted = [str(Path(subfolder) / pattern) for pattern in patterns]
    return Path(snapshot_download(str(path), allow_patterns=wanted, **rest)) / subfolder


def _sizes(mismatched: Iterable[tuple[str, Any, Any]]) -> str:
    """Return the name of one of the weights whose sizes differ, and those sizes."""
    (name, found, wanted), *others = sorted(mismatched)
    rest = f" and {len(others)} more" if others else ""
    return f"{name} is {tuple(found)} instead of {tuple(wanted)}{rest}"


def _check_complete(
    model: PreTrainedModel, missing: Iterable[str], same_class: bool, path: Any
) -> None:
    """Raise ValueError for missing weights that the saved model must have had."""
    encoder = f"{model.base_model_prefix}."
    is_encoder = model.base_model is model
    lacking = [n for n in missing if is_encoder or same_class or n.startswith(encoder)]
    if lacking:
        raise ValueError(f"{path} lacks weights of the model: {some_names(lacking)}")


def _check_finite(model: PreTrainedModel, path: Any) -> None:
    """Raise ValueError for weights that are NaN or infinite."""
    for name, tensor in model.state_dict().items():
        if tensor.is_floating_point() and not tensor.is_meta and not tensor.isfinite().all():
            raise ValueError(f"{path}: {name} has values that are not finite (NaN or infinite)")
