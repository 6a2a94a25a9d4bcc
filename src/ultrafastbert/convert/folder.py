"""Reading the dense model to convert, and writing the converted one beside its original's files."""

import shutil
from pathlib import Path

import transformers
from transformers import AutoConfig, PreTrainedModel

from ultrafastbert.models.converted_card import ORIGINAL_CARD
from ultrafastbert.models.loading import load_saved

# Weights in other formats would be those of the original model.
NOT_COPIED = (
    "*.safetensors", "*.safetensors.index.json", "*.bin", "*.bin.index.json", "*.pt", "*.pth",
    "*.ckpt", "*.ckpt.*", "*.h5", "*.msgpack", "*.onnx", "*.xml", "*.gguf", "*.pkl", "*.py",
    "onnx", "openvino", ".*",
)  # fmt: skip


def load_dense(folder: Path) -> PreTrainedModel:
    """Load the model of a folder as the class that its configuration names.

    Raises OSError where the folder has no config.json or no safetensors, ValueError for weights
    that are missing or do not fit.
    """
    config = AutoConfig.from_pretrained(folder)
    name = (config.architectures or ["AutoModel"])[0]
    return load_saved(getattr(transformers, name, transformers.AutoModel), folder).eval()


def save_converted(model: PreTrainedModel, original: Path, folder: Path) -> None:
    """Save a converted model with the original's tokenizer, pooling and everything else.

    So `SentenceTransformer(folder)` works where it worked with the original. The original's model
    card is kept as README.original.md.
    """
    copy_companions(original, folder)
    if (card := folder / "README.md").exists():
        card.replace(folder / ORIGINAL_CARD)
    model.save_pretrained(folder)


def copy_companions(source: Path, folder: Path, but: tuple[str, ...] = ()) -> None:
    """Copy what a model's folder holds beside the weights, without what matches patterns `but`."""
    ignore = shutil.ignore_patterns(*NOT_COPIED, *but)
    shutil.copytree(source, folder, ignore=ignore, dirs_exist_ok=True)
