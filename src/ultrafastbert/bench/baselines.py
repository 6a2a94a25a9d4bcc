"""Dense baselines: every implementation of a dense layer that PyTorch has on this machine.

The baseline of a speed-up is the fastest of them, or a BLAS level if that is faster. Left out:
compilers.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor, nn

from ultrafastbert.bench import blas
from ultrafastbert.fff.dense import FeedForward
from ultrafastbert.inference.optimized.backends import (
    TOLERANCE,
    LinearImplementation,
    Run,
    available_linears,
    has_bfloat16,
    pack_linear,
)


def build_dense(linear: LinearImplementation, layer: FeedForward, n_tokens: int) -> Run:
    """Return a function that computes a dense layer: (T, H) -> (T, O), no gradient.

    Raises ValueError for an activation other than GELU.
    """
    if layer.activation != "gelu":
        raise ValueError(f"activation={layer.activation!r}: dense baselines are timed with GELU")
    first = pack_linear(linear, layer.dense_in, n_tokens, gelu=True).run
    second = pack_linear(linear, layer.dense_out, n_tokens).run
    return lambda x: second(first(x))


@dataclass(frozen=True)
class DenseImplementation:
    """One way to compute a dense layer, forward."""

    name: str
    precision: str
    dtype: torch.dtype  # of x
    build: Callable[[FeedForward, int], Run]  # layer, tokens -> run


def available_dense(threads: int) -> list[DenseImplementation]:
    """Return the ways to compute a dense layer on this machine; the BLAS loops take one thread."""
    found = [
        DenseImplementation(x.name, x.precision, x.dtype, partial(build_dense, x))
        for x in available_linears()
    ]
    if threads == 1 and blas.is_available():
        for level in blas.LEVELS:
            build = partial(_build_blas, level)
            found.append(DenseImplementation(blas.name(level), "float32", torch.float32, build))
    return found


def _build_blas(level: int, layer: FeedForward, n_tokens: int) -> Run:
    return blas.dense_forward(level, layer)


def prove_dense(
    linear: LinearImplementation | DenseImplementation, run: Run, layer: FeedForward, x: Tensor
) -> None:
    """Raise RuntimeError unless `run` computes the layer to the precision's tolerance."""
    with torch.inference_mode():
        expected, got = layer(x), run(x.to(linear.dtype)).float()
    error = float((got - expected).norm() / expected.norm())
    # A sum over all neurons rounds so often that the error grows with the root of their number.
    rounding = torch.finfo(torch.float32).eps * layer.intermediate_size**0.5
    if not error <= max(TOLERANCE[linear.precision], rounding):
        raise RuntimeError(
            f"the dense layer {linear.name} {linear.precision} is off by {error:.1e} relative to "
            f"float32 for {len(x)} tokens; its time would mean nothing"
        )


@dataclass(frozen=True)
class DenseTraining:
    """One way to compute a dense layer forward and backward."""

    name: str
    precision: str
    dtype: torch.dtype  # of weights, x and gradients
    autocast: bool
    is_available: Callable[[], bool]


TRAININGS = (
    DenseTraining("eager", "float32", torch.float32, False, lambda: True),
    DenseTraining("autocast", "bfloat16", torch.float32, True, has_bfloat16),
    DenseTraining("eager", "bfloat16", torch.bfloat16, False, has_bfloat16),
)


def available_trainings() -> list[DenseTraining]:
    """Return the ways to train a dense layer that work on this machine."""
    return [training for training in TRAININGS if training.is_available()]


def build_training(training: DenseTraining, layer: nn.Module) -> Callable[[Tensor, Tensor], object]:
    """Return a function (x, gradient of y) -> gradients of x and the weights.

    `layer` is converted to the dtype of `training`; x and the gradient must have it.
    """
    layer = layer.to(training.dtype)
    parameters = list(layer.parameters())

    def run(x: Tensor, grad_y: Tensor) -> object:
        x = x.detach().requires_grad_()
        with torch.autocast("cpu", torch.bfloat16, enabled=training.autocast):
            y = layer(x)
        return torch.autograd.grad(y, [x, *parameters], grad_y.to(y.dtype))

    return run
