"""Function transforms: `torch.func` and forward-mode differentiation.

They need a rule of every operator, and drop in silence what an operator has no rule for.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.autograd import forward_ad
from torch.library import Library, register_vmap

# There is no public way to ask.
_innermost = torch._C._functorch.peek_interpreter_stack
_stack = torch._C._functorch.get_interpreter_stack
_GRADIENT = torch._C._functorch.TransformType.Grad


def is_active() -> bool:
    """Return whether a transform is under way."""
    return forward_ad._current_level >= 0 or _innermost() is not None


def is_differentiating() -> bool:
    """Return whether one of the transforms under way is a derivative."""
    return forward_ad._current_level >= 0 or any(t.key() == _GRADIENT for t in _stack() or ())


# Transforms that a compiler traces are under way meanwhile: it asks, and guards the answer itself.
# `torch.compiler.assume_constant_result` is the same, but imports the compiler.
is_active._dynamo_marked_constant = True  # type: ignore[attr-defined]
is_differentiating._dynamo_marked_constant = True  # type: ignore[attr-defined]


def has_tangent(*tensors: Tensor) -> bool:
    """Return whether forward-mode differentiation goes through one of the tensors."""
    return any(forward_ad.unpack_dual(tensor).tangent is not None for tensor in tensors)


def vmap_by_loop(name: str, library: Library) -> None:
    """Let `torch.vmap` take an operator: one call for each entry of the batch.

    The operator returns several tensors. A batch of no entries is a ValueError.
    """
    namespace, _, operator = name.partition("::")
    call: Callable[..., Any] = getattr(getattr(torch.ops, namespace), operator)

    def rule(info: Any, in_dims: tuple, *args: Any) -> tuple[tuple[Tensor, ...], tuple[int, ...]]:
        if info.batch_size == 0:
            raise ValueError(f"vmap over a batch of 0: {name} needs at least one entry")
        results = [
            call(*(_entry(arg, dim, i) for arg, dim in zip(args, in_dims, strict=True)))
            for i in range(info.batch_size)
        ]
        stacked = tuple(torch.stack(same) for same in zip(*results, strict=True))
        return stacked, (0,) * len(stacked)

    register_vmap(name, rule, lib=library)


def _entry(argument: Any, dim: Any, index: int) -> Any:
    return argument.select(dim, index) if isinstance(dim, int) else argument
