"""Word vectors and positions, sinusoidal or rotary. Sizes: B batch, S sequence, H hidden."""

from typing import Any

import torch
from torch import Tensor, nn

from ultrafastbert.models.bert.configuration import UltraFastBertConfig

Device = torch.device | str | None


def frequencies(size: int, device: Device = None) -> Tensor:
    """Return the angle between neighbouring positions for each pair of columns: (ceil(size / 2)).

    In float32: lower precision would turn far positions by whole radians.
    """
    column = torch.arange(0, size, 2, dtype=torch.float32, device=device)
    return 10000.0 ** (-column / size)


def sinusoids(n_positions: int, hidden_size: int, device: Device = None) -> Tensor:
    """Return the table of sinusoidal positions: (positions, H); sin in even columns, cos in odd.

    In float32, whatever the default dtype is.
    """
    position = torch.arange(n_positions, device=device).unsqueeze(1)
    angle = position * frequencies(hidden_size, device)  # (positions, ceil(H / 2))
    return torch.stack([angle.sin(), angle.cos()], dim=-1).flatten(1)[:, :hidden_size]


def rotate(x: Tensor, angles: Tensor) -> Tensor:
    """Turn pairs of a query's or key's elements: x (B, heads, S, h), angles (..., S, h / 2).

    Element i is paired with i + h / 2 (arXiv 2104.09864, section 3.4.2).
    """
    cos, sin = angles.cos().to(x.dtype), angles.sin().to(x.dtype)
    first, second = x.chunk(2, dim=-1)
    return torch.cat([first * cos - second * sin, second * cos + first * sin], dim=-1)


class UltraFastBertEmbeddings(nn.Module):
    """Word vectors, plus scaled sinusoidal positions, normalised: (B, S) -> (B, S, H).

    The table of positions is float32 in any model and rounded where it is used, so its values do
    not depend on earlier dtypes of the model.
    """

    sinusoids: Tensor
    word_embeddings: nn.Module

    def __init__(self, config: UltraFastBertConfig):
        super().__init__()
        size = config.hidden_size
        self.longest = config.max_position_embeddings
        self.word_embeddings = nn.Embedding(
            config.vocab_size, size, padding_idx=config.pad_token_id
        )
        self.position_scale: nn.Parameter | None = None
        if config.position_embedding_type == "scaled_sinusoidal":
            self.position_scale = nn.Parameter(torch.tensor([size**-0.5]))
            self.register_buffer("sinusoids", sinusoids(self.longest, size), persistent=False)
        self.norm = nn.LayerNorm(size, eps=config.layer_norm_eps)
        dropout = config.embedding_dropout_prob
        self.dropout = nn.Dropout(config.hidden_dropout_prob if dropout is None else dropout)

    def forward(
        self,
        input_ids: Tensor | None,
        inputs_embeds: Tensor | None = None,
        position_ids: Tensor | None = None,
    ) -> Tensor:
        """Embed token ids (B, S), or add positions to given vectors (B, S, H)."""
        words = self.word_embeddings(input_ids) if inputs_embeds is None else inputs_embeds
        if words.dim() != 3:
            given = words if input_ids is None else input_ids
            raise ValueError(
                f"the input has shape {tuple(given.shape)}; input_ids must be (batch, tokens), "
                "inputs_embeds (batch, tokens, hidden_size)"
            )
        length = words.shape[1]
        if length > self.longest:
            raise ValueError(
                f"the input has {length} tokens, but max_position_embeddings={self.longest}; "
                f"truncate it (tokenizer(..., truncation=True, max_length={self.longest})) "
                "or load the model for longer input "
                f"(from_pretrained(..., max_position_embeddings={length}))"
            )
        if self.position_scale is not None:
            table = (
                self.sinusoids[:length] if position_ids is None else self.sinusoids[position_ids]
            )
            words = words + self.position_scale * table.to(words.dtype)
        return self.dropout(self.norm(words))

    def _apply(self, fn: Any, recurse: bool = True) -> "UltraFastBertEmbeddings":
        """Move or convert everything; the table is computed again on the new device.

        It is right even where memory was only reserved, as by `to_empty` after the device "meta".
        """
        before = self._buffers.get("sinusoids")
        super()._apply(fn, recurse)
        if before is not None and self.sinusoids is not before:
            n_positions, size = before.shape
            table = sinusoids(n_positions, size, device="cpu")
            self.sinusoids = table.to(self.sinusoids.device)
        return self
