"""What FF blocks read and write on real text, kept on disk: the data of layer-wise distillation."""

import math
import shutil
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from ultrafastbert.convert.batches import batches_of
from ultrafastbert.convert.precision import autocast
from ultrafastbert.models.architectures import block_of, layers_of

# Free space that is left on the disk.
RESERVE_BYTES = 2**30
DONE = "done"

OnTokens = Callable[[int], None]  # how many were captured so far


class Captured(NamedTuple):
    """Inputs and outputs of one FF block: bfloat16 (tokens, H) each, read from disk as needed."""

    x: Tensor
    y: Tensor


def disk_bytes(n_tokens: int, hidden_size: int, n_layers: int) -> int:
    """Return how much disk the inputs and outputs of so many blocks take."""
    return 2 * n_layers * n_tokens * hidden_size * torch.bfloat16.itemsize


def capture(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    texts: Iterable[str],
    n_tokens: int,
    numbers: Sequence[int],
    folder: Path,
    max_length: int = 128,
    on_tokens: OnTokens = lambda n: None,
) -> dict[int, Captured]:
    """Run a model over texts until so many tokens passed; return what blocks read and wrote.

    The result is by numbers of layers. Padding is left out. A folder that holds the result already
    is read.

    Raises:
        ValueError: if the texts have fewer tokens, or the disk is too small.
    """
    size = model.config.hidden_size
    if not (folder / DONE).exists():
        folder.mkdir(parents=True, exist_ok=True)
        check_disk(folder, disk_bytes(n_tokens, size, len(numbers)))
        captured = {number: _open(folder, number, n_tokens, size) for number in numbers}
        _fill(model, batches_of(tokenizer, texts, max_length), captured, n_tokens, on_tokens)
        (folder / DONE).touch()
    return {number: _open(folder, number, n_tokens, size) for number in numbers}


def check_disk(folder: Path, needed: int) -> None:
    """Raise ValueError where a folder's disk has less free space than needed, and a reserve."""
    free = shutil.disk_usage(folder).free - RESERVE_BYTES
    if needed > free:
        raise ValueError(
            f"{folder} needs {needed / 2**30:,.1f} GiB for what the original computes, but "
            f"{max(0, free) / 2**30:,.1f} GiB are free; capture fewer tokens"
        )


def _open(folder: Path, layer: int, n_tokens: int, size: int) -> Captured:
    paths = (folder / f"layer{layer}.{name}.bfloat16" for name in ("x", "y"))
    return Captured(*(mapped(path, (n_tokens, size), torch.bfloat16) for path in paths))


def mapped(path: Path, shape: tuple[int, ...], dtype: torch.dtype) -> Tensor:
    """Return a tensor that lives in a file, which is made where it is not there."""
    size = math.prod(shape)
    return torch.from_file(str(path), shared=True, size=size, dtype=dtype).view(shape)


@contextmanager
def _tapped(model: PreTrainedModel, numbers: Iterable[int]) -> Iterator[dict[int, list[Tensor]]]:
    """Let the FF blocks of some layers leave their last input and output in lists."""
    block = block_of(model.config.model_type)
    layers = layers_of(model, block)
    taps = {number: [torch.empty(0), torch.empty(0)] for number in numbers}
    hooks = []
    for number, tap in taps.items():
        first, last = (layers[number].get_submodule(name) for name in (block.first, block.last))
        hooks.append(first.register_forward_pre_hook(partial(_keep_input, tap)))
        hooks.append(last.register_forward_hook(partial(_keep_output, tap)))
    try:
        yield taps
    finally:
        for hook in hooks:
            hook.remove()


def _keep_input(tap: list[Tensor], module: nn.Module, args: tuple[Tensor, ...]) -> None:
    tap[0] = args[0]


def _keep_output(
    tap: list[Tensor], module: nn.Module, args: tuple[Tensor, ...], output: Tensor
) -> None:
    tap[1] = output


def _fill(
    model: PreTrainedModel,
    batches: Iterable[dict[str, Tensor]],
    captured: dict[int, Captured],
    n_tokens: int,
    on_tokens: OnTokens,
) -> None:
    """Write what blocks read and write until the files are full."""
    at = 0
    with _tapped(model, captured) as taps, torch.no_grad(), autocast():
        for batch in batches:
            model.base_model(**batch)
            keep = batch["attention_mask"].bool()  # (B, S)
            part = slice(at, min(n_tokens, at + int(keep.sum())))
            for number, (x, y) in taps.items():
                captured[number].x[part] = x[keep][: part.stop - at]
                captured[number].y[part] = y[keep][: part.stop - at]
            at = part.stop
            on_tokens(at)
            if at == n_tokens:
                return
    raise ValueError(
        f"the text has {at:,} tokens, but {n_tokens:,} are wanted; give more text or fewer tokens"
    )
