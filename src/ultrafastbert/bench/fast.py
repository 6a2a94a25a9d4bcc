"""Fast feedforward implementations: every way to compute one layer, each with its own gate."""

import copy
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from ultrafastbert.bench import blas
from ultrafastbert.fff.layer import FastFeedForward
from ultrafastbert.inference.optimized.backends import TOLERANCE
from ultrafastbert.kernels import KERNELS, usable_kernels

# Share of tokens that must take the definition's path: of float32 all but ties, of narrower weights
# all but those whose decisions are as close to zero as a weight's rounding.
MIN_ROUTING = {"float32": 0.99, "bfloat16": 0.9, "int8": 0.9}


@dataclass(frozen=True)
class FastRun:
    """A layer, ready to be timed and to be compared."""

    run: Callable[[Tensor], Tensor]  # x (T, H) -> y (T, O), as a user calls it
    route: Callable[[Tensor], tuple[Tensor, Tensor]]  # x float32 -> y (T, O), leaf (T, K)
    parameters: tuple[Tensor, ...] = ()  # whose gradients the backward pass computes


@dataclass(frozen=True)
class FastImplementation:
    """One way to compute a fast feedforward layer.

    Attributes:
        name: native, gather, masked, blas1, ...
        precision: float32, or what is narrower: of the weights, or of weights and activations.
        dtype: of x.
        weight_bytes: bytes of a weight.
        build: makes a run from the float32 layer, which it leaves as it is.
        tolerance: relative error of the output; None for at most twice plain PyTorch's.
        min_routing: share of tokens that must take the definition's path.
        trains: whether it has a backward pass.
        skipped: why it does not compute this layer; None if it does.
    """

    name: str
    precision: str
    dtype: torch.dtype
    weight_bytes: int
    build: Callable[[FastFeedForward], FastRun]
    tolerance: float | None = None
    min_routing: float = MIN_ROUTING["float32"]
    trains: bool = False
    skipped: str | None = None


def available_fast(layer: FastFeedForward, threads: int) -> list[FastImplementation]:
    """Return the ways to compute a float32 layer on this machine; BLAS loops take one thread."""
    return [*_kernels(layer), *_narrow(layer), *(_blas_levels(layer) if threads == 1 else [])]


def _kernels(layer: FastFeedForward) -> list[FastImplementation]:
    return [
        FastImplementation(
            kernel.name,
            "float32",
            torch.float32,
            4,
            partial(_build_kernel, kernel.name),
            trains=True,
        )
        for kernel in usable_kernels(layer.problem(torch.float32))
    ]


def _build_kernel(name: str, layer: FastFeedForward) -> FastRun:
    own = copy.copy(layer)  # shares the weights
    own.kernel = name
    return _module_run(own, torch.float32)


def _module_run(layer: FastFeedForward, dtype: torch.dtype) -> FastRun:
    def route(x: Tensor) -> tuple[Tensor, Tensor]:
        x = x.to(dtype)
        return layer(x), layer.visited_leaves(x)

    return FastRun(layer, route, tuple(layer.parameters()))


def _narrow(layer: FastFeedForward) -> list[FastImplementation]:
    """Return the native kernel's narrower precisions."""
    if not KERNELS["native"].is_available():
        return []
    return [
        _native_entry("bfloat16 weights", "bfloat16", torch.float32, 2),
        _native_entry("int8 weights", "int8", torch.float32, 1),
        _native_entry("bfloat16", "bfloat16", torch.bfloat16, 2),
    ]


def _native_entry(
    precision: str, weights: str, dtype: torch.dtype, size: int
) -> FastImplementation:
    build = partial(_build_quantized, weights, dtype)
    limits = (TOLERANCE[weights], MIN_ROUTING[weights])
    return FastImplementation("native", precision, dtype, size, build, *limits)


def _build_quantized(weights: str, dtype: torch.dtype, layer: FastFeedForward) -> FastRun:
    own = copy.deepcopy(layer)
    own.kernel = "native"
    return _module_run(own.quantize_(weights), dtype)


def _blas_levels(layer: FastFeedForward) -> list[FastImplementation]:
    if not blas.is_available():
        return []
    return [
        FastImplementation(
            blas.name(level),
            "float32",
            torch.float32,
            4,
            partial(_build_blas, level),
            TOLERANCE["float32"],
            skipped=blas.NO_LEVEL_3 if level == 3 and layer.leaf_size == 1 else None,
        )
        for level in blas.LEVELS
    ]


def _build_blas(level: int, layer: FastFeedForward) -> FastRun:
    forward = blas.fast_forward(level, layer)
    return FastRun(lambda x: forward(x)[0], forward)
