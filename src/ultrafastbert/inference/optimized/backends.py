"""Every way to compute a linear layer that PyTorch has on this machine, for inference on CPUs."""

import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ultrafastbert.fff.machine import bf16_supported

Run = Callable[[Tensor], Tensor]

# Relative error against float32 beyond which an implementation does not compute the layer.
TOLERANCE = {"float32": 1e-5, "bfloat16": 2e-2, "int8": 1e-1}


class PackedLinear(NamedTuple):
    """A linear layer whose weight an implementation holds as it wants it."""

    run: Run  # (..., in) -> (..., out)
    unpack: Callable[[], Tensor]  # -> W (out, in) float32, rounded as it is held


@dataclass(frozen=True)
class LinearImplementation:
    """One way to compute x W^T + b, with a GELU after it or not."""

    name: str
    precision: str  # in which the products are computed
    dtype: torch.dtype  # of x
    # W (out, in) and b (out) or None, float32, tokens or None for any number, GELU -> layer
    pack: Callable[[Tensor, Tensor | None, int | None, bool], PackedLinear]
    is_available: Callable[[], bool]

    def __str__(self) -> str:
        return f"{self.name} {self.precision}"

    def __reduce__(self) -> tuple[Callable[..., "LinearImplementation"], tuple[str, str]]:
        """Copy and pickle by name: functions of a machine mean nothing on another."""
        return linear_named, (self.name, self.precision)


def _eager(weight: Tensor, bias: Tensor | None, n_tokens: int | None, gelu: bool) -> PackedLinear:
    def run(x: Tensor) -> Tensor:
        y = F.linear(x, weight, bias)
        return F.gelu(y) if gelu else y

    return PackedLinear(run, weight.float)


def _packed(weight: Tensor, bias: Tensor | None, n_tokens: int | None, gelu: bool) -> PackedLinear:
    # What torch.compile's freezing calls: oneDNN, weight reordered once for this many tokens.
    packed = torch.ops.mkldnn._reorder_linear_weight(weight.contiguous(), n_tokens)
    linear = torch.ops.mkldnn._linear_pointwise
    after, algorithm = ("gelu", "none") if gelu else ("none", "")
    return PackedLinear(
        lambda x: linear(x, packed, bias, after, [], algorithm), lambda: packed.to_dense().float()
    )


def _in_bfloat16(
    pack: Callable[..., PackedLinear], weight: Tensor, bias: Tensor | None, *how
) -> PackedLinear:
    return pack(weight.bfloat16(), None if bias is None else bias.bfloat16(), *how)


def _dynamic_int8(
    engine: str, weight: Tensor, bias: Tensor | None, n_tokens: int | None, gelu: bool
) -> PackedLinear:
    with warnings.catch_warnings(), _quantized_engine(engine):
        # Quantized tensors are deprecated, but still what PyTorch's fastest int8 layer takes.
        warnings.simplefilter("ignore", UserWarning)
        packed = torch.ops.quantized.linear_prepack(_quantize_rows(weight), bias)
    linear = torch.ops.quantized.linear_dynamic
    reduce_range = not _cpu_has("_is_vnni_supported")  # without VNNI, sums of 8-bit pairs overflow

    def run(x: Tensor) -> Tensor:
        y = linear(x, packed, reduce_range)
        return F.gelu(y) if gelu else y

    return PackedLinear(run, lambda: torch.ops.quantized.linear_unpack(packed)[0].dequantize())


def _quantize_rows(weight: Tensor) -> Tensor:
    scales = weight.abs().amax(1).clamp(min=1e-8).double() / 127
    zeros = torch.zeros(len(weight), dtype=torch.int64)
    return torch.quantize_per_channel(weight, scales, zeros, 0, torch.qint8)


@contextmanager
def _quantized_engine(name: str) -> Iterator[None]:
    # Weights remember the engine that packed them, so it is set for no longer.
    before = torch.backends.quantized.engine
    torch.backends.quantized.engine = name or before
    try:
        yield
    finally:
        torch.backends.quantized.engine = before


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


def has_onednn_int8() -> bool:
    """Return whether those layers can be computed by oneDNN, too: it has AMX, FBGEMM has not."""
    return has_int8() and "onednn" in torch.backends.quantized.supported_engines


# The most precise and simplest first: the order decides between those of equal speed.
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
    LinearImplementation("dynamic", "int8", torch.float32, partial(_dynamic_int8, ""), has_int8),
    LinearImplementation(
        "dynamic oneDNN",
        "int8",
        torch.float32,
        partial(_dynamic_int8, "onednn"),
        has_onednn_int8,
    ),
)


def linear_named(name: str, precision: str) -> LinearImplementation:
    """Return an implementation of the table; ValueError for one that does not work here."""
    for linear in available_linears():
        if (linear.name, linear.precision) == (name, precision):
            return linear
    raise ValueError(f"linear layers by {name} {precision} do not work on this machine")


def available_linears() -> list[LinearImplementation]:
    """Return the implementations of a linear layer that work on this machine."""
    return [linear for linear in LINEARS if linear.is_available()]


def pack_linear(
    linear: LinearImplementation, layer: nn.Linear, n_tokens: int | None, gelu: bool = False
) -> PackedLinear:
    """Return a linear layer as an implementation computes it: (T, in) -> (T, out), no gradient."""
    bias = None if layer.bias is None else layer.bias.detach()
    return linear.pack(layer.weight.detach(), bias, n_tokens, gelu)
