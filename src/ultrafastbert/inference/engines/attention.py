"""Attention as one operator of ONNX Runtime, for models that call it by transformers' interface.

Sizes in comments: B batch, A heads, S sequence, H hidden, h = H / A.
"""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from transformers import AttentionInterface, AttentionMaskInterface, PreTrainedModel
from transformers.masking_utils import bidirectional_mask_function, causal_mask_function, sdpa_mask

# The name that `config._attn_implementation` has while a model is traced.
FUSED = "ultrafastbert_onnxruntime"
DOMAIN = "com.microsoft"
OPERATOR = "MultiHeadAttention"


@contextmanager
def attention_of(model: PreTrainedModel, implementation: str) -> Iterator[None]:
    """Make a model attend by an implementation, where its code leaves the choice.

    Others, such as MPNet and DeBERTa, keep what they compute. With `FUSED`, a model can be traced,
    not run.
    """
    before = model.config._attn_implementation
    if any(_has_interface(module) for module in model.modules()):
        model.config._attn_implementation = implementation
    try:
        yield
    finally:
        model.config._attn_implementation = before


def _has_interface(module: nn.Module) -> bool:
    return hasattr(sys.modules[type(module).__module__], "ALL_ATTENTION_FUNCTIONS")


def _attend(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    scaling: float | None = None,
    **_: Any,
) -> tuple[Tensor, None]:
    """Attend: q, k, v (B, A, S, h) -> (B, S, A, h); key and value may have fewer heads."""
    batch, n_heads, length, _size = query.shape
    if (n_groups := key.shape[1]) < n_heads:
        key, value = (each.repeat_interleave(n_heads // n_groups, 1) for each in (key, value))
    inputs = [each.transpose(1, 2).flatten(2) for each in (query, key, value)]  # (B, S, H)
    padding, bias = _padding_or_bias(attention_mask)
    attributes: dict[str, Any] = {"num_heads": n_heads}
    if scaling is not None:
        attributes["scale"] = float(scaling)
    y = torch.onnx.ops.symbolic(
        f"{DOMAIN}::{OPERATOR}",
        [*inputs, None, padding, bias],
        attributes,
        dtype=query.dtype,
        shape=(batch, length, inputs[2].shape[2]),
        version=1,
    )
    return y.unflatten(2, (n_heads, -1)), None


def _padding_or_bias(mask: Tensor | None) -> tuple[Tensor | None, Tensor | None]:
    """Return a mask of keys (B, S) int32, or what is added to scores (B, 1 or A, S, S)."""
    if mask is None:
        return None, None
    if mask.dim() == 2:
        return mask.int(), None
    if mask.shape[1:3] == (1, 1):  # the same for every query: zero is added to tokens
        return (mask[:, 0, 0] == 0).int(), None
    if mask.dtype != torch.bool:
        return None, mask
    return None, torch.zeros(()).masked_fill(~mask, torch.finfo(torch.float32).min)


def _mask(
    mask_function: Callable = causal_mask_function,
    attention_mask: Tensor | None = None,
    **options: Any,
) -> Tensor | None:
    """Return the mask of padding (B, S) where all tokens see all others, else (B, 1, S, S)."""
    if mask_function is bidirectional_mask_function:
        return attention_mask
    options |= {"allow_is_causal_skip": False, "allow_is_bidirectional_skip": False}
    return sdpa_mask(mask_function=mask_function, attention_mask=attention_mask, **options)


AttentionInterface.register(FUSED, _attend)
AttentionMaskInterface.register(FUSED, _mask)
