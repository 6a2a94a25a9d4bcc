"""Counters of leaves, as an operator: what calls a layer twice for one token counts it once."""

from typing import Any

import torch
from torch import Tensor
from torch.library import Library, register_fake, register_vmap

COUNT = "ultrafastbert::count_leaves_"

_library = Library("ultrafastbert", "FRAGMENT")
_library.define("count_leaves_(Tensor(a!) usage, Tensor counts) -> ()")


def add_counts(usage: Tensor, counts: Tensor) -> None:
    """Add the tokens of a call to those of each leaf: counts (K, 2^D) to usage (K, 2^D), in place.

    Not during a backward pass: then checkpointing computes layers again. That is asked when the
    operator runs, so that compiled layers count alike; and the operator runs all the same, since
    selective checkpointing relies on the same operators in the same order.
    """
    torch.ops.ultrafastbert.count_leaves_(usage, counts)


def _count(usage: Tensor, counts: Tensor) -> None:
    if torch._C._current_graph_task_id() == -1:
        usage.add_(counts)


def _count_fake(usage: Tensor, counts: Tensor) -> None:
    pass


def _count_batch(info: Any, in_dims: tuple, usage: Tensor, counts: Tensor) -> tuple[None, None]:
    dim, of_counts = in_dims
    if of_counts is not None:
        counts = counts.movedim(of_counts, 0)
    elif dim is None:
        counts = counts.expand(info.batch_size, *counts.shape)
    if dim is not None:
        add_counts(usage.movedim(dim, 0), counts)
    else:
        add_counts(usage, counts.sum(0))
    return None, None


_library.impl("count_leaves_", _count, "CompositeExplicitAutograd")
register_fake(COUNT, _count_fake, lib=_library)
register_vmap(COUNT, _count_batch, lib=_library)
