"""Quantized weights for inference: bfloat16, or int8 with one scale per row."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor

WEIGHT_DTYPES = {"bfloat16": torch.bfloat16, "int8": torch.int8}
INT8_MAX = 127


class Weights(NamedTuple):
    """The weights of a fast feedforward layer, in any precision.

    A row's values are its integers times its scale, where there are scales. Nodes may keep input
    rows of their own in full precision, `w_routing`: then `w_in` holds those of leaves only.
    """

    w_in: Tensor  # (K, R, H), or (K, R - N, H) beside w_routing
    b_in: Tensor  # (K, R) float32
    w_out: Tensor  # (K, R, O)
    scale_in: Tensor | None = None  # (K, R or R - N) float32
    scale_out: Tensor | None = None  # (K, R) float32
    w_routing: Tensor | None = None  # (K, N, H) float32, N = 2^D - 1 nodes

    @classmethod
    def held_by(cls, holder: Mapping[str, Any]) -> "Weights":
        """Return the weights that a module's parameters or buffers hold under these names."""
        return cls(*(holder.get(name) for name in cls._fields))  # type: ignore[arg-type]

    def contiguous(self) -> "Weights":
        """Return the weights in contiguous memory, without a copy where they are."""
        return Weights(*(w if w is None else w.contiguous() for w in self))  # type: ignore[arg-type]


def check_weight_dtype(name: str | None) -> None:
    """Raise ValueError unless `name` is None, bfloat16 or int8."""
    if name is not None and name not in WEIGHT_DTYPES:
        choices = ", ".join(WEIGHT_DTYPES)
        raise ValueError(f"weight_dtype={name!r} is unknown; choose one of {choices}, or None")


def check_finite(w_in: Tensor, b_in: Tensor, w_out: Tensor) -> None:
    """Raise ValueError where weights hold NaN or infinity."""
    for name, weight in {"w_in": w_in, "b_in": b_in, "w_out": w_out}.items():
        if not weight.is_meta and not weight.isfinite().all():
            raise ValueError(f"{name} holds NaN or infinity, which cannot be quantized")


def quantize(
    w_in: Tensor, b_in: Tensor, w_out: Tensor, weight_dtype: str, exact_routing_rows: int = 0
) -> Weights:
    """Return a layer's weights (float32) in `weight_dtype`, `bfloat16` or `int8`.

    The first `exact_routing_rows` input rows of each tree, its nodes, keep full precision.
    Raises ValueError for another name, and for weights that are not finite.
    """
    check_weight_dtype(weight_dtype)
    check_finite(w_in, b_in, w_out)
    w_routing = w_in[:, :exact_routing_rows].float().contiguous() if exact_routing_rows else None
    rows_in, scale_in = quantize_rows(w_in[:, exact_routing_rows:], weight_dtype)
    rows_out, scale_out = quantize_rows(w_out, weight_dtype)
    return Weights(rows_in, b_in.detach().float().clone(), rows_out, scale_in, scale_out, w_routing)


def dequantize(
    weights: Weights, dtype: torch.dtype = torch.float32
) -> tuple[Tensor, Tensor, Tensor]:
    """Return the values w_in (K, R, H), b_in (K, R), w_out (K, R, O) that weights stand for."""
    w_in = _values(weights.w_in, weights.scale_in, dtype)
    if weights.w_routing is not None:
        w_in = torch.cat([weights.w_routing.to(dtype), w_in], 1)
    return w_in, weights.b_in.to(dtype), _values(weights.w_out, weights.scale_out, dtype)


def quantize_rows(rows: Tensor, weight_dtype: str) -> tuple[Tensor, Tensor | None]:
    """Return rows (..., H) in `weight_dtype`, and for int8 the scale of each row (...)."""
    if weight_dtype == "bfloat16":
        return rows.bfloat16().contiguous(), None
    # A row of zeros has any scale.
    scale = rows.float().abs().amax(-1).clamp(min=torch.finfo(torch.float32).tiny) / INT8_MAX
    integers = (rows.float() / scale.unsqueeze(-1)).round().clamp(-INT8_MAX, INT8_MAX)
    return integers.to(torch.int8).contiguous(), scale


def _values(rows: Tensor, scale: Tensor | None, dtype: torch.dtype) -> Tensor:
    return rows.to(dtype) if scale is None else rows.to(dtype) * scale.to(dtype).unsqueeze(-1)
