"""The kernels of the fast feedforward layer: one table, and the choice among them.

`ultrafastbert.kernels.base` says what a kernel is. To add one, write its file and a line of the
table; the tests iterate over it. Nothing outside imports a kernel by its name to compute with.
"""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any

from torch import Tensor

from ultrafastbert.kernels import dense, gather, masked, native
from ultrafastbert.kernels.base import (
    Kernel,
    Prepared,
    PreparingKernel,
    Problem,
    QuantizedKernel,
)

# In the order of preference of the automatic choice.
_IN_ORDER: tuple[Kernel, ...] = (
    dense.KERNEL,
    native.KERNEL,
    gather.KERNEL,
    masked.KERNEL,
)
KERNELS = {kernel.name: kernel for kernel in _IN_ORDER}
# Optional capabilities; looked up once, since `isinstance` with a protocol is slow.
_QUANTIZED = {k.name: k for k in _IN_ORDER if isinstance(k, QuantizedKernel)}
_PREPARING = {k.name: k for k in _IN_ORDER if isinstance(k, PreparingKernel)}

_default_kernel = ""


@contextmanager
def use_kernel(name: str | None) -> Iterator[None]:
    """Make `name` the kernel of every call in the process that does not name one itself.

    Raises ValueError for a name that is unknown or not available here.
    """
    global _default_kernel
    check_kernel(name)
    before, _default_kernel = _default_kernel, name or ""
    try:
        yield
    finally:
        _default_kernel = before


def check_kernel(name: str | None) -> None:
    """Raise ValueError unless `name` is None or the name of a kernel that works here."""
    if not name:
        return
    if name not in KERNELS:
        raise ValueError(f"kernel={name!r} is unknown; choose one of {', '.join(KERNELS)}")
    if reason := KERNELS[name].why_unavailable():
        raise ValueError(f"kernel={name!r} is not available: {reason}, or leave kernel=None")


def choose_kernel(name: str | None, problem: Problem) -> Kernel:
    """Return the kernel named here or by `use_kernel`, else the first of the table that fits.

    Warns once of each kernel that would be preferred but is not available here. Raises ValueError
    for a name that is unknown, not available here or not made for the problem.
    """
    if name := name or _default_kernel:
        check_kernel(name)
        if not KERNELS[name].supports(problem):
            raise ValueError(
                f"kernel={name!r} does not take {problem}; leave kernel=None to have one chosen"
            )
        return KERNELS[name]
    for kernel in KERNELS.values():
        if not kernel.supports(problem):
            continue
        if kernel.is_available():
            return kernel
        _warn_that_it_is_missing(kernel.name)
    raise ValueError(f"no kernel takes {problem}")


def usable_kernels(problem: Problem) -> list[Kernel]:
    """Return the kernels that compute the problem here, in order of preference."""
    return [k for k in KERNELS.values() if k.is_available() and k.supports(problem)]


@cache
def _warn_that_it_is_missing(name: str) -> None:
    warnings.warn(
        f"kernel {name!r} is not available and a slower one computes: "
        f"{KERNELS[name].why_unavailable()}",
        RuntimeWarning,
        stacklevel=2,
    )


def may_use(kernel: str, name: str | None) -> bool:
    """Return whether a call with `kernel=name` may run on `kernel`: it, or any, is asked for."""
    return (name or _default_kernel) in ("", kernel)


def takes_quantized(name: str | None) -> bool:
    """Return whether the kernel named, or any where none is, may compute with quantized weights."""
    return not (name := name or _default_kernel) or name in _QUANTIZED


def choose_quantized_kernel(problem: Problem) -> QuantizedKernel | None:
    """Return the kernel of `use_kernel`, or the first that fits, for quantized weights.

    None where no kernel takes them here: they must be expanded.
    """
    for name, kernel in _QUANTIZED.items():
        if may_use(name, None) and kernel.is_available() and kernel.supports(problem):
            return kernel
    return None


def place_weights(*weights: Tensor) -> None:
    """Move weights, in place, to memory that kernels read faster, where one can."""
    for kernel in _PREPARING.values():
        kernel.place_weights(*weights)


def prepare(name: str | None, problem: Problem, holder: dict[str, Any]) -> Prepared | None:
    """Return the fast path of the kernel that calls go to, or None where it has none.

    `holder` has the weights, see `PreparingKernel.prepare`.
    """
    fitting = (k for k in KERNELS.values() if may_use(k.name, name) and k.is_available())
    chosen = next((k.name for k in fitting if k.supports(problem)), None)
    if chosen not in _PREPARING:
        return None
    return _PREPARING[chosen].prepare(problem.dtype, holder, problem.spec)
