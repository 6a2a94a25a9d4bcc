"""Reading the dense model to convert, and writing the converted one beside its original's files."""

import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from transformers import AutoTokenizer, PreTrainedModel, PreTrainedTokenizerBase

from ultrafastbert.data.text_batches import batches_of
from ultrafastbert.models.converted.architectures import FeedForwardLocation, layers_of, location_of
from ultrafastbert.models.converted.hooks import check_replaceable
from ultrafastbert.models.converted.model import converted_class
from ultrafastbert.models.converted.norms import norms_after
from ultrafastbert.models.io.converted_card import ORIGINAL_CARD
from ultrafastbert.models.io.saved import load_as_saved, load_padding_tokenizer
from ultrafastbert.models.precision import autocast_of
from ultrafastbert.runs.outputs import real

# Weights in other formats would be those of the original model; those of modules that come after
# it, such as sentence-transformers' Dense, lie in folders of their own.
WEIGHTS = (
    "*.safetensors", "*.safetensors.index.json", "*.bin", "*.bin.index.json", "*.pt", "*.pth",
    "*.ckpt", "*.ckpt.*", "*.h5", "*.msgpack", "*.onnx", "*.xml", "*.gguf", "*.pkl", "onnx",
    "openvino",
)  # fmt: skip
# Code and hidden files, wherever they are.
NOT_COPIED = ("*.py", ".*")


class Dense(NamedTuple):
    """A dense model that can be converted.

    Attributes:
        model: in float32.
        location: where its FF layers sit.
        layer_ids: the layers to convert.
        sample: a batch that the model read, as it was checked.
        norms: those that read the sum of an FF layer's input and output, by layer id.
    """

    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    location: FeedForwardLocation
    layer_ids: Sequence[int]
    sample: dict[str, Tensor]
    norms: dict[int, nn.LayerNorm | None]


def open_dense(
    folder: Path,
    max_length: int,
    ff_location: str | None = None,
    layer_ids: Sequence[int] | None = None,
) -> Dense:
    """Load a model with its tokenizer, and see by a run that its FF layers can be replaced.

    By default, `location_of` finds them, and all layers are converted.

    Raises:
        FileNotFoundError, OSError: for files that are missing.
        ValueError: for a model that is no dense one or not of text, an unknown architecture,
            layer or location, and texts of more tokens than it has positions.
    """
    model, tokenizer = load_dense(folder), load_tokenizer(folder)
    location = location_of(model, ff_location)
    every = range(len(layers_of(model, location)))
    layer_ids = every if layer_ids is None else layer_ids
    check_reads(model, max_length)
    sample = next(batches_of(tokenizer, ["some text"], max_length))
    size = check_replaceable(model, location, layer_ids, sample)
    norms = norms_after(model, location, layer_ids, size, sample)
    return Dense(model, tokenizer, location, layer_ids, sample, norms)


def load_dense(folder: Path) -> PreTrainedModel:
    """Load the model of a folder in float32, to train it, see `load_as_saved`.

    Raises the same, and ValueError for a model that is no dense one.
    """
    model = load_as_saved(folder, dtype=torch.float32)
    class_: Any = type(model)
    converted_class(class_)
    return model.eval()


def load_tokenizer(folder: Path) -> PreTrainedTokenizerBase:
    """Load the tokenizer of a folder, see `load_padding_tokenizer`.

    Raises ValueError where there is none, as in models of images.
    """
    try:
        return load_padding_tokenizer(folder)
    except (OSError, ValueError, KeyError) as error:
        raise ValueError(
            f"{folder} has no tokenizer, and only models of text are converted from a folder; in "
            f"Python, convert_model takes batches of any kind ({error})"
        ) from error


def n_positions(model: PreTrainedModel) -> int | None:
    """Return how many tokens a model reads at most, or None where nothing limits them.

    RoBERTa and its like count positions from after that of padding, so they have fewer.
    """
    found = getattr(model.config, "max_position_embeddings", None)
    if not found or found < 0:
        return None
    paddings = [
        module.padding_idx
        for name, module in model.named_modules()
        if name.endswith("position_embeddings") and isinstance(module, nn.Embedding)
    ]
    return found - max((1 + number for number in paddings if number is not None), default=0)


def check_reads(model: PreTrainedModel, max_length: int) -> None:
    """Raise ValueError for texts of more tokens than a model has positions."""
    if max_length > (most := n_positions(model) or max_length):
        raise ValueError(
            f"max_length={max_length} must be at most {most}, the positions of the model"
        )


def check_encoder(model: PreTrainedModel, batch: dict[str, Tensor]) -> None:
    """Raise ValueError where a run on a batch shows that hidden states cannot be learned.

    The batch needs an `attention_mask`, the output `last_hidden_state` and `hidden_states`, one
    more than there are layers.
    """
    wanted = f"{type(model).__name__} cannot be converted from a folder: "
    way_out = "in Python, convert_model takes it, with batches, and trains layer by layer only"
    if "attention_mask" not in batch:
        raise ValueError(f"{wanted}its tokenizer gives no attention_mask; {way_out}")
    with torch.no_grad(), autocast_of(model):
        output: Any = model.base_model(**batch, output_hidden_states=True)
    n_states = len(getattr(output, "hidden_states", None) or ())
    if n_states != model.config.num_hidden_layers + 1 or "last_hidden_state" not in output:
        raise ValueError(
            f"{wanted}it returns {n_states} hidden_states, not one more than its "
            f"{model.config.num_hidden_layers} layers, and last_hidden_state, as models of an "
            f"encoder and a decoder; {way_out}"
        )


def save_converted(model: PreTrainedModel, original: Path, folder: Path) -> None:
    """Save a converted model with the original's tokenizer, pooling and everything else.

    So `SentenceTransformer(folder)` works where it worked with the original. The original's model
    card is kept as README.original.md.
    """
    copy_companions(original, folder)
    if (card := folder / "README.md").exists():
        card.replace(folder / ORIGINAL_CARD)
    if AutoTokenizer.from_pretrained(original).pad_token is None:  # others are copied as they are
        load_padding_tokenizer(original).save_pretrained(folder)
    model.save_pretrained(folder)


def copy_companions(source: Path, folder: Path, but: tuple[str, ...] = ()) -> None:
    """Copy what a model's folder holds beside the weights, without what matches patterns `but`.

    Folders in it that hold the new one, or other models than its modules, are left out.
    """
    target, modules = real(folder), _modules(source)
    at_top = shutil.ignore_patterns(*WEIGHTS, *NOT_COPIED, *but)
    below = shutil.ignore_patterns(*NOT_COPIED)

    def ignore(path: str, names: list[str]) -> set[str]:
        unwanted = (at_top if Path(path) == source else below)(path, names)
        for name in names:
            place = Path(path) / name
            if target.is_relative_to(real(place)) or (_is_model(place) and place not in modules):
                unwanted.add(name)
        return unwanted

    shutil.copytree(source, folder, ignore=ignore, dirs_exist_ok=True)


def _modules(folder: Path) -> set[Path]:
    """Return the folders of a sentence-transformers model's modules."""
    path = folder / "modules.json"
    modules = json.loads(path.read_text(encoding="utf-8")) if path.exists() else []
    return {folder / module["path"] for module in modules}


def _is_model(folder: Path) -> bool:
    config = folder / "config.json"
    return config.is_file() and '"model_type"' in config.read_text(encoding="utf-8")
