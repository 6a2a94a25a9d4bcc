"""Multi-head self-attention. Sizes: B batch, S sequence, H hidden."""

from collections.abc import Callable

import torch
from torch import Tensor, nn
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

from ultrafastbert.models.bert.configuration import UltraFastBertConfig
from ultrafastbert.models.bert.embeddings import rotate

# Added to the scores of padding. Finite, as in crammedBERT: a row without any token attends to all
# of them rather than to none.
PADDING_SCORE = -10000.0


def additive_mask(attention_mask: Tensor, dtype: torch.dtype) -> Tensor:
    """Return what is added to attention scores: (B, S) or (B, S, S) -> (B, 1, 1 or S, S).

    The mask is 1 for keys to attend to, the same for all queries or given for each of them. Raises
    ValueError for another number of dimensions.
    """
    if attention_mask.dim() not in (2, 3):
        raise ValueError(
            f"attention_mask has shape {tuple(attention_mask.shape)}; it must be (batch, tokens) "
            "or (batch, queries, keys)"
        )
    keys = (
        attention_mask.unsqueeze(1) if attention_mask.dim() == 3 else attention_mask[:, None, None]
    )
    return (1.0 - keys.to(dtype)) * PADDING_SCORE


def eager_attention_forward(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    scaling: float,
    dropout: float = 0.0,
    **kwargs,
) -> tuple[Tensor, Tensor]:
    """Attend with explicit weights: q, k, v (B, heads, S, H / heads) -> (B, S, heads, ...)."""
    scores = query @ key.transpose(-1, -2) * scaling  # (B, heads, S, S)
    if attention_mask is not None:
        scores = scores + attention_mask
    weights = nn.functional.softmax(scores, dim=-1)
    weights = nn.functional.dropout(weights, dropout, module.training)
    return (weights @ value).transpose(1, 2).contiguous(), weights


class UltraFastBertAttention(nn.Module):
    """Multi-head self-attention with one fused projection: (B, S, H) -> (B, S, H)."""

    def __init__(self, config: UltraFastBertConfig):
        super().__init__()
        self.config = config
        self.head_dim = config.head_size
        self.is_causal = False
        size = config.hidden_size
        self.qkv = nn.Linear(size, 3 * size, bias=config.qkv_bias)
        self.dense = nn.Linear(size, size, bias=config.use_bias)

    def forward(
        self,
        hidden_states: Tensor,
        attention_mask: Tensor | None = None,
        angles: Tensor | None = None,
        **kwargs,
    ) -> tuple[Tensor, Tensor | None]:
        """Return the attended states and, from the eager implementation, the weights.

        `angles` are those of rotary positions, None for others.
        """
        shape = hidden_states.shape[:-1]
        qkv = self.qkv(hidden_states).view(*shape, 3, -1, self.head_dim)
        query, key, value = (part.transpose(1, 2) for part in qkv.unbind(dim=-3))
        if angles is not None:
            query, key = rotate(query, angles), rotate(key, angles)
        attend: Callable = ALL_ATTENTION_FUNCTIONS.get_interface(
            self.config._attn_implementation, eager_attention_forward
        )
        context, weights = attend(
            self,
            query,
            key,
            value,
            attention_mask,
            dropout=self.config.attention_probs_dropout_prob if self.training else 0.0,
            scaling=self.head_dim**-0.5,
            **kwargs,
        )
        return self.dense(context.reshape(*shape, -1)), weights
