"""What FF layers read and write on real text, kept on disk: the data of layer-wise distillation."""

import math
import shutil
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from ultrafastbert.data.sampling import Text
from ultrafastbert.data.text_batches import batches_of
from ultrafastbert.models.converted.architectures import FeedForwardLocation, location_of
from ultrafastbert.models.converted.hooks import Captured, run_hooked
from ultrafastbert.runs.status import Count, Show, counting, show_nothing

# Free space that is left on the disk.
RESERVE_BYTES = 2**30
DONE = "done"


class Parts(NamedTuple):
    """What one FF layer read and wrote on the two parts of a text."""

    train: Captured
    validation: Captured


def disk_bytes(n_tokens: int, hidden_size: int, n_layers: int) -> int:
    """Return how much disk the inputs and outputs of so many FF layers take."""
    return 2 * n_layers * n_tokens * hidden_size * torch.bfloat16.itemsize


def capture(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    texts: Iterable[Text],
    n_tokens: int,
    layer_ids: Sequence[int],
    folder: Path,
    max_length: int = 128,
    on_status: Show = show_nothing,
    location: FeedForwardLocation | None = None,
) -> dict[int, Captured]:
    """Run a model over texts until so many tokens passed; return what FF layers read and wrote.

    The result is by layer id. Padding is left out. A folder that holds the result already is read;
    its name says what the text is for, such as `train`. `location` says where FF layers sit, where
    `location_of` does not find them. It needs 4 H bytes of disk per token and layer.

    Raises:
        ValueError: if the texts have fewer tokens, or the disk is too small.
    """
    size = model.config.hidden_size
    if not (folder / DONE).exists():
        renew(folder)
        needed = disk_bytes(n_tokens, size, len(layer_ids))
        check_disk(folder, needed)
        what = f"reading text ({folder.name}, {needed / 2**30:.2f} GiB on disk)"
        on_tokens = counting(on_status, what, n_tokens, "tokens")
        captured = {layer_id: _open(folder, layer_id, n_tokens, size) for layer_id in layer_ids}
        batches = batches_of(tokenizer, texts, max_length)
        _fill(
            model,
            location or location_of(model),
            batches,
            captured,
            n_tokens,
            on_tokens,
            folder.name,
        )
        (folder / DONE).touch()
    return {layer_id: _open(folder, layer_id, n_tokens, size) for layer_id in layer_ids}


def renew(folder: Path) -> None:
    """Make a folder, without what an interrupted run left there."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)


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


def _fill(
    model: PreTrainedModel,
    location: FeedForwardLocation,
    batches: Iterable[dict[str, Tensor]],
    captured: dict[int, Captured],
    n_tokens: int,
    on_tokens: Count,
    name: str,
) -> None:
    """Write what FF layers read and write until the files are full."""
    at, n_texts, is_run_once = 0, 0, False
    for batch in batches:
        found = run_hooked(model, location, list(captured), batch, is_run_once)
        n_kept = int(batch["attention_mask"].sum())
        n_texts += len(batch["attention_mask"])
        is_run_once = all(len(x) == n_kept for x, _ in found.values())
        for layer_id, (x, y) in found.items():
            part = slice(at, min(n_tokens, at + len(x)))
            captured[layer_id].x[part] = x[: part.stop - at]
            captured[layer_id].y[part] = y[: part.stop - at]
        at = part.stop
        on_tokens(at)
        if at == n_tokens:
            return
    raise ValueError(
        f"the {name} text has {at:,} tokens in {n_texts:,} pieces, but {n_tokens:,} are wanted; "
        f"give more text, or at most {100 * at // n_tokens} % of the tokens"
    )
