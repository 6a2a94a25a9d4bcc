"""One vector for a sequence: pooling the last hidden states of its tokens."""

import torch
from torch import Tensor, nn

POOLERS = ("mean", "cls", "first", "avg", "max", "lse")


def pool(hidden_states: Tensor, attention_mask: Tensor | None, pooling: str) -> Tensor:
    """Return one vector for each sequence: (B, S, H) -> (B, H).

    `mean` is over the tokens that the mask (B, S) keeps; `cls` takes the first of them, with
    padding on either side. The others ignore the mask, see `UltraFastBertConfig`. Sums are at least
    in float32. Raises ValueError for `mean` with a mask that is not (B, S).
    """
    if pooling == "max":
        return hidden_states.max(1).values
    if pooling == "first":
        return hidden_states[:, 0]
    if pooling == "cls":
        return _first_token(hidden_states, attention_mask)
    dtype = torch.promote_types(hidden_states.dtype, torch.float32)
    return _sum_up(hidden_states.to(dtype), attention_mask, pooling).to(hidden_states.dtype)


def normalized(vectors: Tensor) -> Tensor:
    """Return vectors (..., H) scaled to length 1; those of zeros stay zeros."""
    dtype = torch.promote_types(vectors.dtype, torch.float32)
    return nn.functional.normalize(vectors.to(dtype), dim=-1).to(vectors.dtype)


def _sum_up(hidden_states: Tensor, attention_mask: Tensor | None, pooling: str) -> Tensor:
    if pooling == "lse":
        return hidden_states.logsumexp(1)
    if pooling == "avg" or attention_mask is None:
        return hidden_states.mean(1)
    if attention_mask.dim() != 2:
        raise ValueError(
            f"attention_mask has shape {tuple(attention_mask.shape)}; pooling='mean' needs "
            "(batch, tokens)"
        )
    weights = attention_mask.to(hidden_states.dtype).unsqueeze(-1)  # (B, S, 1)
    return (hidden_states * weights).sum(1) / weights.sum(1).clamp(min=1.0)


def _first_token(hidden_states: Tensor, attention_mask: Tensor | None) -> Tensor:
    if attention_mask is None or attention_mask.dim() != 2:
        return hidden_states[:, 0]
    rows = torch.arange(hidden_states.shape[0], device=hidden_states.device)
    return hidden_states[rows, attention_mask.int().argmax(1)]
