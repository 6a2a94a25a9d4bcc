"""Converting a model held in memory, layer by layer, from batches that the caller gives."""

import copy
import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple, TypeVar, cast

import torch
from torch import nn
from transformers import PreTrainedModel

from ultrafastbert.distill.candidates import training_of
from ultrafastbert.distill.layerwise import RegressionConfig, layer_row, regress
from ultrafastbert.distill.teacher.capture import Parts, mapped
from ultrafastbert.models.bert.configuration import parse_ffn
from ultrafastbert.models.converted.architectures import (
    FeedForwardLocation,
    layers_of,
    location_of,
    replace_feedforward,
)
from ultrafastbert.models.converted.feedforward import ConvertedFeedForward
from ultrafastbert.models.converted.hooks import Captured, check_replaceable, run_hooked
from ultrafastbert.models.converted.model import converted_copy
from ultrafastbert.models.converted.norms import norms_after
from ultrafastbert.rows.conversion import ConvertLayerRow
from ultrafastbert.runs.status import Show, counting, show_nothing

# One batch in this many is held out, to measure on.
VALIDATION_EVERY = 20

Model = TypeVar("Model", bound=nn.Module)


class _Place(NamedTuple):
    """Which FF layers of a model are converted, and the size of what they read and write."""

    location: FeedForwardLocation
    layer_ids: tuple[int, ...]
    hidden_size: int
    norms: dict[int, nn.LayerNorm | None]


def convert_model(
    model: Model,
    batches: Iterable[Any],
    ffn: str = "1x6x40",
    layers: Sequence[int] | None = None,
    ff_location: str | None = None,
    training: RegressionConfig | None = None,
    on_status: Show = show_nothing,
) -> tuple[Model, list[ConvertLayerRow]]:
    """Return a copy of a dense model with fast FF layers, and a result row for each of them.

    The model runs on the batches, as it is (call `eval()` first), and each new FF layer learns the
    outputs of the old one on the same inputs. It needs 4 H bytes of disk per token and layer, in a
    temporary folder.

    Args:
        model: one of transformers, with or without head, whose copy can be saved and loaded by the
            Auto classes; or any other module with a list of layers.
        batches: what the model is called with, without its head: mappings of its arguments, or its
            only one; best in random order. With an `attention_mask`, padding is left out. The first
            batch and every twentieth after it are held out, to measure on.
        ffn: what replaces FF layers: KxD or KxDxL; `ff:WIDTH` and `none` are controls.
        layers: ids of the layers to convert, from 0; all by default.
        ff_location: where FF layers sit, such as `encoder.layer.*.intermediate,output.dense`, see
            `architectures.FeedForwardLocation`; found by itself in many architectures.
        training: how each FF layer is trained; by default as `convert` does.
        on_status: told what is being done, how much of it is, and of how much.

    Raises:
        ValueError: for an unknown architecture, location, layer or `ffn`, FF layers that cannot be
            replaced, batches that hold texts instead of tokens, or fewer than two batches.
    """
    training, location = training or training_of(ffn), location_of(model, ff_location)
    iterator = _tokenized(batches)
    first = list(itertools.islice(iterator, 2))
    if len(first) < 2:
        raise ValueError("batches are fewer than two: one to train on, one to measure on")
    place = _check(model, location, layers, first[0])
    new = {layer_id: ConvertedFeedForward(place.hidden_size, ffn) for layer_id in place.layer_ids}
    converted, every = _copy(model, new, location), itertools.chain(first, iterator)
    with TemporaryDirectory() as folder:
        captured = _captured(model, place, every, Path(folder), on_status)
        rows = [
            _distill(new[layer_id], layer_id, parts, training, place.norms[layer_id], on_status)
            for layer_id, parts in captured.items()
        ]
    for feedforward in new.values():
        feedforward.to(next(model.parameters()))
    return converted, rows


def _check(
    model: nn.Module, location: FeedForwardLocation, layers: Sequence[int] | None, batch: Any
) -> _Place:
    """Return what is converted, as a run on one batch shows; ValueError where it cannot be."""
    n_layers = len(layers_of(model, location))
    layer_ids = tuple(range(n_layers)) if layers is None else tuple(layers)
    size = check_replaceable(model, location, layer_ids, batch)
    return _Place(location, layer_ids, size, norms_after(model, location, layer_ids, size, batch))


def _distill(
    feedforward: ConvertedFeedForward,
    layer_id: int,
    parts: Parts,
    training: RegressionConfig,
    norm: nn.LayerNorm | None,
    on_status: Show,
) -> ConvertLayerRow:
    ffn = feedforward.ffn
    on_step = counting(on_status, f"layer {layer_id}: {ffn}", training.steps, "steps")
    regress(feedforward, parts.train, training, on_step, norm)
    name = parse_ffn(ffn)["ffn_type"]
    validation = parts.validation
    return layer_row(ConvertLayerRow, name, layer_id, feedforward, training, validation, norm)


def _tokenized(batches: Iterable[Any]) -> Iterator[Any]:
    """Return an iterator over batches; ValueError for a single one, and for texts instead.

    A single batch would give the names of its fields, a single text its letters.
    """
    way_out = 'give a list of what the tokenizer makes of texts, with return_tensors="pt"'
    if isinstance(batches, str | bytes | Mapping):
        raise ValueError(f"batches is a single {type(batches).__name__}: {way_out}")
    return (_checked_batch(batch, index, way_out) for index, batch in enumerate(batches))


def _checked_batch(batch: Any, index: int, way_out: str) -> Any:
    first = batch[0] if isinstance(batch, list | tuple) and batch else batch
    if isinstance(first, str | bytes):
        raise ValueError(f"batches[{index}] holds texts, not tokens: {way_out}")
    return batch


def _copy(
    model: Model, new: dict[int, ConvertedFeedForward], location: FeedForwardLocation
) -> Model:
    """Return a model's copy with new FF layers."""
    if isinstance(model, PreTrainedModel):
        every = range(len(layers_of(model, location)))
        names = [new[layer_id].ffn if layer_id in new else None for layer_id in every]
        copied = cast(Model, converted_copy(model, names, location))
    else:
        copied = copy.deepcopy(model)
    for layer_id, feedforward in new.items():
        replace_feedforward(copied, location, layer_id, feedforward)
    return copied


def _captured(
    model: nn.Module, place: _Place, batches: Iterable[Any], folder: Path, on_status: Show
) -> dict[int, Parts]:
    """Run a model; return what FF layers read and wrote, to train and to measure on, on disk."""
    counts = {"validation": 0, "train": 0}
    for index, batch in enumerate(batches):
        part = "train" if index % VALIDATION_EVERY else "validation"
        found = run_hooked(model, place.location, place.layer_ids, batch)
        for layer_id, captured in found.items():
            for name, tensor in captured._asdict().items():
                _append(folder / f"{part}.{layer_id}.{name}", tensor)
        counts[part] += len(found[place.layer_ids[0]].x)
        on_status("running the model (batches)", index + 1, None)

    def opened(part: str, layer_id: int) -> Captured:
        paths = (folder / f"{part}.{layer_id}.{name}" for name in Captured._fields)
        shape = counts[part], place.hidden_size
        return Captured(*(mapped(path, shape, torch.bfloat16) for path in paths))

    return {id_: Parts(opened("train", id_), opened("validation", id_)) for id_ in place.layer_ids}


def _append(path: Path, tensor: torch.Tensor) -> None:
    with path.open("ab") as file:
        file.write(tensor.bfloat16().cpu().contiguous().view(torch.uint8).numpy().data)
