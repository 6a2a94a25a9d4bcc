"""The kernels of the fast feedforward layer: one table, name -> functions.

Every kernel computes the definition of `ultrafastbert.fff.reference`. To add one, write its file
and add it to `KERNELS`; the tests iterate over the table.

Sizes: T tokens, H hidden, O output, K trees, R rows per tree, S = D + L slots per path.

    forward(x, w_in, b_in, w_out, depth, leaf_size, activation, node_output)
        x (T, H), w_in (K, R, H), b_in (K, R), w_out (K, R, O)
        -> y (T, O), leaf (T, K) int64, logits (T, K, S)
        x and y may be bfloat16 beside float32 weights; sums and logits are float64 for float64
        weights, else float32
    backward(grad_y, x, w_in, w_out, leaf, logits, depth, leaf_size, activation, node_output, needs)
        -> gradients of x, w_in, b_in, w_out; None where the entry of `needs` is False
"""

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from types import ModuleType
from typing import Any

import torch
from torch import Tensor

from ultrafastbert.kernels import dense, gather, masked, native

Gradients = tuple[Tensor | None, Tensor | None, Tensor | None, Tensor | None]


@dataclass(frozen=True)
class Kernel:
    """One implementation of the layer, forward and backward."""

    name: str
    forward: Callable[..., tuple[Tensor, Tensor, Tensor]]
    backward: Callable[..., Gradients]
    is_available: Callable[[], bool]
    supports: Callable[[str, torch.dtype, int], bool]  # device type, dtype, depth


def _kernel(name: str, module: ModuleType) -> Kernel:
    return Kernel(name, module.forward, module.backward, module.is_available, module.supports)


def _one_dtype_kernel(
    name: str, module: ModuleType, dtype_of: Callable[[torch.dtype], torch.dtype]
) -> Kernel:
    """Return a kernel whose module computes in one dtype, by the dtype of the weights."""

    def forward(x: Tensor, w_in: Tensor, *rest: Any) -> tuple[Tensor, Tensor, Tensor]:
        y, leaf, logits = module.forward(x.to(dtype_of(w_in.dtype)), w_in, *rest)
        return y.to(x.dtype), leaf, logits.to(logits_dtype(w_in.dtype))

    def backward(
        grad_y: Tensor,
        x: Tensor,
        w_in: Tensor,
        w_out: Tensor,
        leaf: Tensor,
        logits: Tensor,
        *rest: Any,
    ) -> Gradients:
        grad_y, tokens, logits = (t.to(dtype_of(w_in.dtype)) for t in (grad_y, x, logits))
        grad_x, *grads = module.backward(grad_y, tokens, w_in, w_out, leaf, logits, *rest)
        grad_w_in, grad_b_in, grad_w_out = (None if g is None else g.to(w_in.dtype) for g in grads)
        return None if grad_x is None else grad_x.to(x.dtype), grad_w_in, grad_b_in, grad_w_out

    return Kernel(name, forward, backward, module.is_available, module.supports)


def logits_dtype(weight_dtype: torch.dtype) -> torch.dtype:
    """Return the dtype of sums, and in which logits are kept for the backward pass."""
    return torch.float64 if weight_dtype == torch.float64 else torch.float32


def _same(weight_dtype: torch.dtype) -> torch.dtype:
    return weight_dtype


# In the order of preference of the automatic choice.
KERNELS = {
    # Matrix products of processors and GPUs add in float32 by themselves.
    "dense": _one_dtype_kernel("dense", dense, _same),
    "native": _kernel("native", native),
    "gather": _one_dtype_kernel("gather", gather, logits_dtype),
    "masked": _one_dtype_kernel("masked", masked, logits_dtype),
}


def choose_kernel(name: str, device_type: str, dtype: torch.dtype, depth: int) -> Kernel:
    """Return the kernel called `name`, or the preferred one for the inputs if `name` is empty.

    Raises ValueError for a name that is unknown, not available here or not made for the inputs.
    """
    if not name:
        if device_type == "cpu" and not native.is_available():
            _warn_that_native_is_missing()
        usable = (k for k in KERNELS.values() if k.is_available())
        return next(k for k in usable if k.supports(device_type, dtype, depth))
    check_kernel(name)
    if not KERNELS[name].supports(device_type, dtype, depth):
        raise ValueError(
            f"kernel={name!r} does not take dtype {dtype} on {device_type} at depth {depth}; "
            "leave kernel=None to have one chosen"
        )
    return KERNELS[name]


@cache
def _warn_that_native_is_missing() -> None:
    warnings.warn(
        "ultrafastbert was installed without its native core and runs on PyTorch alone, several "
        "times slower; reinstall it where there is a C++17 compiler",
        RuntimeWarning,
        stacklevel=2,
    )


def check_kernel(name: str | None) -> None:
    """Raise ValueError unless `name` is None or the name of a kernel that works here."""
    if not name:
        return
    if name not in KERNELS:
        raise ValueError(f"kernel={name!r} is unknown; choose one of {', '.join(KERNELS)}")
    if not KERNELS[name].is_available():
        raise ValueError(
            f"kernel={name!r} is not available: the package was installed without its native core; "
            "reinstall it with a C++17 compiler, or leave kernel=None"
        )
