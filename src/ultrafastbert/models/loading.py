"""Loading saved models: safetensors only, and never random weights in silence."""

from pathlib import Path
from typing import Any

from transformers import PreTrainedModel


def load_saved(
    auto_class: Any, folder: str | Path, new_head: bool = False, **options: Any
) -> PreTrainedModel:
    """Load a model from a folder by one of the Auto classes of transformers.

    With `new_head`, what is not part of the encoder may be missing and is drawn at random.
    Raises OSError if the folder has no safetensors (pickles are not read), ValueError if weights
    are missing or do not fit the configuration.
    """
    try:
        model, info = auto_class.from_pretrained(
            folder, use_safetensors=True, output_loading_info=True, **options
        )
    except RuntimeError as error:  # sizes that differ
        raise ValueError(
            f"the weights in {folder} do not fit its config.json: {' '.join(str(error).split())}"
        ) from error
    encoder = f"{model.base_model_prefix}."
    missing = sorted(
        name
        for name in info["missing_keys"]
        if not new_head or (name.startswith(encoder) and ".pooler." not in name)
    )
    if missing:
        raise ValueError(f"{folder} lacks weights of the model: {', '.join(missing[:3])} ...")
    return model
