"""Dense baselines: every implementation of a dense layer that PyTorch has on this machine.

The baseline of a speed-up is the fastest of them, or a BLAS level if that is faster. Left out:
compilers.
"""

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ultrafastbert.bench import blas
from ultrafastbert.fff.dense import FeedForward
from ultrafastbert.fff.machine import bf16_supported

Run = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class LinearImplementation:
    """One way to compute x W^T + b, with a GELU after it or not."""

    name: str
    precision: str  # in which the products are computed
    dtype: torch.dtype  # of x
    # W (out, in) and b (out) or None, float32, tokens, GELU -> run
    build: Callable[[Tensor, Tensor | None, int, bool], Run]
    is_available: Callable[[], bool]


def _eager(weight: Tensor, bias: Tensor | None, n_tokens: int, gelu: bool) -> Run:
    if gelu:
        return lambda x: F.gelu(F.linear(x, weight, bias))
    return lambda x: F.linear(x, weight, bias)


def _packed(weight: Tensor, bias: Tensor | None, n_tokens: int, gelu: bool) -> Run:
    # What torch.compile's freezing calls: oneDNN, weight reordered once for this many tokens.
    packed = torch.ops.mkldnn._reorder_linear_weight(weight.contiguous(), n_tokens)
    linear = torch.ops.mkldnn._linear_pointwise
    after, algorithm = ("gelu", "none") if gelu else ("none", "")
    return lambda x: linear(x, packed, bias, after, [], algorithm)


def _in_bfloat16(build: Callable[..., Run], weight: Tensor, bias: Tensor | None, *how) -> Run:
    return build(weight.bfloat16(), None if bias is None else bias.bfloat16(), *how)


def _dynamic_int8(weight: Tensor, bias: Tensor | None, n_tokens: int, gelu: bool) -> Run:
    scales = weight.abs().amax(1).clamp(min=1e-8).double() / 127
    zeros = torch.zeros(len(weight), dtype=torch.int64)
    with warnings.catch_warnings():
        # Quantized tensors are deprecated, but still what PyTorch's fastest int8 layer takes.
        warnings.simplefilter("ignore", UserWarning)
        quantized = torch.quantize_per_channel(weight, scales, zeros, 0, torch.qint8)
        packed = torch.ops.quantized.linear_prepack(quantized, bias)
    linear = torch.ops.quantized.linear_dynamic
    reduce_range = not _cpu_has("_is_vnni_supported")  # without VNNI, sums of 8-bit pairs overflow
    if gelu:
        return lambda x: F.gelu(linear(x, packed, reduce_range))
    return lambda x: linear(x, packed, reduce_range)


def _cpu_has(check: str) -> bool:
    # The checks are private to torch.cpu, so they are looked for.
    return bool(getattr(torch.cpu, check, bool)())


def has_bfloat16() -> bool:
    """Return whether the processor computes in bfloat16, rather than emulating it."""
    return bf16_supported("cpu")


def has_packing() -> bool:
    """Return whether this PyTorch has oneDNN with packed weights (private operators)."""
    operators = ("_reorder_linear_weight", "_linear_pointwise")
    built = torch.backends.mkldnn.is_available()
    return built and all(hasattr(torch.ops.mkldnn, name) for name in operators)


def has_int8() -> bool:
    """Return whether this PyTorch has dynamically quantized linear layers on this processor."""
    has_operator = hasattr(torch.ops.quantized, "linear_dynamic")
    return has_operator and torch.backends.quantized.engine not in ("none", "qnnpack")


LINEARS = (
    LinearImplementation("eager", "float32", torch.float32, _eager, lambda: True),
    LinearImplementation("packed", "float32", torch.float32, _packed, has_packing),
    LinearImplementation(
        "eager", "bfloat16", torch.bfloat16, partial(_in_bfloat16, _eager), has_bfloat16
    ),
    LinearImplementation(
        "packed",
        "bfloat16",
        torch.bfloat16,
        partial(_in_bfloat16, _packed),
        lambda: has_packing() and has_bfloat16(),
    ),
    LinearImplementation("dynamic", "int8", torch.float32, _dynamic_int8, has_int8),
)

# Relative error against float32 beyond which an implementation does not compute the layer.
TOLERANCE = {"float32": 1e-5, "bfloat16": 2e-2, "int8": 1e-1}


def available_linears() -> list[LinearImplementation]:
    """Return the implementations of a linear layer that work on this machine."""
    return [linear for linear in LINEARS if linear.is_available()]


def build_linear(
    linear: LinearImplementation, layer: nn.Linear, n_tokens: int, gelu: bool = False
) -> Run:
    """Return a function that computes a linear layer: (T, in) -> (T, out), no gradient."""
    bias = None if layer.bias is None else layer.bias.detach()
    return linear.build(layer.weight.detach(), bias, n_tokens, gelu)


def build_dense(linear: LinearImplementation, layer: FeedForward, n_tokens: int) -> Run:
    """Return a function that computes a dense layer: (T, H) -> (T, O), no gradient.

    Raises ValueError for an activation other than GELU.
    """
    if layer.activation != "gelu":
        raise ValueError(f"activation={layer.activation!r}: dense baselines are timed with GELU")
    first = build_linear(linear, layer.dense_in, n_tokens, gelu=True)
    second = build_linear(linear, layer.dense_out, n_tokens)
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
