"""Converting a model held in memory, layer by layer, from batches that the caller gives."""

import copy
import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, TypeVar, cast

import torch
from torch import nn
from transformers import PreTrainedModel

from ultrafastbert.distill.layerwise import RegressionConfig, layer_row, regress
from ultrafastbert.distill.plan import training_of
from ultrafastbert.distill.teacher.capture import mapped
from ultrafastbert.models.bert.configuration import parse_ffn
from ultrafastbert.models.converted.architectures import Block, block_of, layers_of, replace_block
from ultrafastbert.models.converted.feedforward import ConvertedBlock
from ultrafastbert.models.converted.hooks import Captured, check_block, run_tapped
from ultrafastbert.models.converted.model import converted_copy
from ultrafastbert.models.converted.norms import norms_after
from ultrafastbert.rows import Row
from ultrafastbert.runs.status import Status, counting

# One batch in this many is held out, to measure on.
VALIDATION_EVERY = 20

Model = TypeVar("Model", bound=nn.Module)


def convert_model(
    model: Model,
    batches: Iterable[Any],
    ffn: str = "1x6x40",
    layers: Sequence[int] | None = None,
    block: str | None = None,
    training: RegressionConfig | None = None,
    on_status: Status = lambda what, done, total: None,
) -> tuple[Model, list[Row]]:
    """Return a copy of a dense model with fast FF blocks, and a result row for each of them.

    The model runs on the batches, as it is (call `eval()` first), and each new block learns what
    the old one made of its inputs. Both lie in a temporary folder meanwhile: 4 * H bytes for each
    token and layer.

    Args:
        model: one of transformers, with or without head, whose copy can be saved and loaded by the
            Auto classes; or any other module with a list of layers.
        batches: what the model is called with, without its head: mappings of its arguments, or its
            only one; best in random order. With an `attention_mask`, padding is left out. The first
            batch and every twentieth after it are held out, to measure on.
        ffn: what replaces FF blocks: KxD or KxDxL; `ff:WIDTH` and `none` are controls.
        layers: numbers of the layers to convert, from 0; all by default.
        block: where the FF block sits, such as `encoder.layer.*.intermediate,output.dense`, see
            `models.architectures.Block`; found by itself in many architectures.
        training: how each block is trained; by default as `convert` does.
        on_status: told what is being done, how much of it is, and of how much.

    Raises:
        ValueError: for an unknown architecture, block, layer or `ffn`, blocks that cannot be
            replaced, batches that hold texts instead of tokens, or fewer than two batches.
    """
    training, place = training or training_of(ffn), block_of(model, block)
    n_layers, iterator = len(layers_of(model, place)), _tokenized(batches)
    numbers = tuple(range(n_layers)) if layers is None else tuple(layers)
    first = list(itertools.islice(iterator, 2))
    if len(first) < 2:
        raise ValueError("batches are fewer than two: one to train on, one to measure on")
    size = check_block(model, place, numbers, first[0])
    norms = norms_after(model, place, numbers, size, first[0])
    new = {number: ConvertedBlock(size, ffn) for number in numbers}
    converted = _copy(model, new, place)
    rows = []
    with TemporaryDirectory() as folder:
        every = itertools.chain(first, iterator)
        captured = _captured(model, place, numbers, every, size, Path(folder), on_status)
        for number, (train, validation) in captured.items():
            on_step = counting(on_status, f"layer {number}: {ffn}", training.steps)
            regress(new[number], train, training, on_step, norms[number])
            name = parse_ffn(ffn)["ffn_type"]
            block_row = layer_row(name, number, new[number], training, validation, norms[number])
            rows.append(block_row)
            new[number].to(next(model.parameters()))
    return converted, rows


def _tokenized(batches: Iterable[Any]) -> Iterator[Any]:
    """Return an iterator over batches; ValueError for a single one, and for texts in their place.

    A single batch would give the names of its fields, a single text its letters.
    """
    way_out = 'give a list of what the tokenizer makes of texts, with return_tensors="pt"'
    if isinstance(batches, str | bytes | Mapping):
        raise ValueError(f"batches is a single {type(batches).__name__}: {way_out}")
    return (_checked_batch(batch, number, way_out) for number, batch in enumerate(batches))


def _checked_batch(batch: Any, number: int, way_out: str) -> Any:
    first = batch[0] if isinstance(batch, list | tuple) and batch else batch
    if isinstance(first, str | bytes):
        raise ValueError(f"batches[{number}] holds texts, not tokens: {way_out}")
    return batch


def _copy(model: Model, new: dict[int, ConvertedBlock], place: Block) -> Model:
    """Return a model's copy with new blocks in some layers."""
    if isinstance(model, PreTrainedModel):
        in_layers = range(len(layers_of(model, place)))
        names = [new[number].ffn if number in new else None for number in in_layers]
        copied = cast(Model, converted_copy(model, names, place))
    else:
        copied = copy.deepcopy(model)
    for number, block in new.items():
        replace_block(copied, place, number, block)
    return copied


def _captured(
    model: nn.Module,
    place: Block,
    numbers: Sequence[int],
    batches: Iterable[Any],
    size: int,
    folder: Path,
    on_status: Status,
) -> dict[int, tuple[Captured, Captured]]:
    """Run a model; return what blocks read and wrote, to train and to measure on, kept on disk."""
    counts = {"validation": 0, "train": 0}
    for index, batch in enumerate(batches):
        part = "train" if index % VALIDATION_EVERY else "validation"
        found = run_tapped(model, place, numbers, batch)
        for number, captured in found.items():
            for name, tensor in captured._asdict().items():
                _append(folder / f"{part}.{number}.{name}", tensor)
        counts[part] += len(found[numbers[0]].x)
        on_status("running the model (batches)", index + 1, None)

    def opened(part: str, number: int) -> Captured:
        paths = (folder / f"{part}.{number}.{name}" for name in Captured._fields)
        return Captured(*(mapped(path, (counts[part], size), torch.bfloat16) for path in paths))

    return {number: (opened("train", number), opened("validation", number)) for number in numbers}


def _append(path: Path, tensor: torch.Tensor) -> None:
    with path.open("ab") as file:
        file.write(tensor.bfloat16().cpu().contiguous().view(torch.uint8).numpy().data)
