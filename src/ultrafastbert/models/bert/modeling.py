"""The UltraFastBERT encoder, as a Hugging Face model; its heads are in `heads.py`.

Architecture: crammedBERT (arXiv 2212.14034): pre-norm, scaled sinusoidal positions, no biases in
linear layers. The FF layer is chosen by `config.ffn_type`. Sizes in comments: B batch, S sequence,
H hidden.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from transformers import initialization as init
from transformers.modeling_layers import GradientCheckpointingLayer
from transformers.modeling_outputs import BaseModelOutput
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS
from transformers.utils.output_capturing import capture_outputs

from ultrafastbert.fff.dense import FeedForward, GatedFeedForward
from ultrafastbert.fff.layer import FastFeedForward
from ultrafastbert.models.bert.configuration import UltraFastBertConfig
from ultrafastbert.models.io.card import WithCard
from ultrafastbert.models.io.loading import CheckedLoading
from ultrafastbert.models.quantized import Quantizable

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

    The table of positions is float32 in any model and rounded where it is used, so that it does not
    depend on the dtypes that the model had before.
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
        """Embed token numbers (B, S), or add positions to given vectors (B, S, H)."""
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
        """Move or convert all but the table, which is computed anew on the new device.

        It is right even where memory was only reserved, as by `to_empty` after the device "meta".
        """
        before = self._buffers.get("sinusoids")
        super()._apply(fn, recurse)
        if before is not None and self.sinusoids is not before:
            n_positions, size = before.shape
            table = sinusoids(n_positions, size, device="cpu")
            self.sinusoids = table.to(self.sinusoids.device)
        return self


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


def build_feed_forward(config: UltraFastBertConfig) -> nn.Module:
    """Return the FF layer that `config.ffn_type` names (not for `none`)."""
    if config.ffn_type == "fff":
        return FastFeedForward(
            config.hidden_size,
            config.tree_depth,
            config.n_trees,
            config.leaf_size,
            activation=config.hidden_act,
            node_output=config.node_output,
            shared_size=config.shared_size,
            weight_dtype=config.weight_dtype,
            exact_routing=config.exact_routing,
            leaf_output_bias=config.leaf_output_bias,
            soft_training=config.soft_training,
            region_leak=config.region_leak,
        )
    sizes = (config.hidden_size, config.intermediate_size)
    bias, activation = config.use_bias, config.hidden_act
    if config.ffn_type == "glu":
        return GatedFeedForward(*sizes, activation=activation, bias=bias)
    return FeedForward(*sizes, activation=activation, bias=bias, output_bias=bias)


class UltraFastBertLayer(GradientCheckpointingLayer):
    """One pre-norm Transformer layer: (B, S, H) -> (B, S, H)."""

    def __init__(self, config: UltraFastBertConfig):
        super().__init__()
        self.attention_norm = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)
        self.attention = UltraFastBertAttention(config)
        self.dropout = nn.Dropout(config.hidden_dropout_prob)
        self.ffn: nn.Module | None = None
        if config.ffn_type != "none":
            self.ffn_norm = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)
            self.ffn = build_feed_forward(config)

    def forward(
        self,
        hidden_states: Tensor,
        attention_mask: Tensor | None = None,
        angles: Tensor | None = None,
        **kwargs,
    ) -> Tensor:
        """Add the sublayers' outputs to the residual stream."""
        normed = self.attention_norm(hidden_states)
        context, _ = self.attention(normed, attention_mask, angles, **kwargs)
        hidden_states = hidden_states + self.dropout(context)
        if self.ffn is None:
            return hidden_states
        return hidden_states + self.dropout(self.ffn(self.ffn_norm(hidden_states)))


class UltraFastBertPreTrainedModel(CheckedLoading, Quantizable, WithCard):
    """What all UltraFastBERT models share: loading, saving, initialisation."""

    config_class = UltraFastBertConfig
    base_model_prefix = "model"
    supports_gradient_checkpointing = True
    _supports_sdpa = True
    _supports_attention_backend = True
    _no_split_modules = ["UltraFastBertEmbeddings", "UltraFastBertLayer"]  # noqa: RUF012
    _can_record_outputs = {  # noqa: RUF012, the base class declares it so
        "hidden_states": UltraFastBertLayer,
        "attentions": UltraFastBertAttention,
    }

    def __init__(self, config: UltraFastBertConfig):
        config.check()
        super().__init__(config)

    @torch.no_grad()
    def _init_weights(self, module: nn.Module) -> None:
        super()._init_weights(module)  # linear, embedding and norm layers
        if isinstance(module, FastFeedForward) and not module.weight_dtype:
            init.normal_(module.w_in, std=self.config.initializer_range)
            init.normal_(module.w_out, std=self.config.initializer_range)
            init.zeros_(module.b_in)
            if module.b_out is not None:
                init.zeros_(module.b_out)
        elif isinstance(module, UltraFastBertEmbeddings) and module.position_scale is not None:
            init.constant_(module.position_scale, self.config.hidden_size**-0.5)
            n_positions, hidden_size = module.sinusoids.shape
            init.copy_(module.sinusoids, sinusoids(n_positions, hidden_size, device="cpu"))


class UltraFastBertModel(UltraFastBertPreTrainedModel):
    """The encoder without a head."""

    def __init__(self, config: UltraFastBertConfig):
        super().__init__(config)
        self.embeddings = UltraFastBertEmbeddings(config)
        self.layers = nn.ModuleList(
            UltraFastBertLayer(config) for _ in range(config.num_hidden_layers)
        )
        self.final_norm = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)
        self.gradient_checkpointing = False
        self.post_init()

    def get_input_embeddings(self) -> nn.Module:
        """Return the word embedding."""
        return self.embeddings.word_embeddings

    def set_input_embeddings(self, value: nn.Module) -> None:
        """Replace the word embedding."""
        self.embeddings.word_embeddings = value

    @capture_outputs
    def forward(
        self,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        position_ids: Tensor | None = None,
        inputs_embeds: Tensor | None = None,
        **kwargs,
    ) -> BaseModelOutput:
        """Encode tokens.

        Args:
            input_ids: token numbers, (B, S) int64.
            attention_mask: 1 for tokens and 0 for padding, (B, S), or for each query (B, S, S);
                None for no padding.
            position_ids: positions, (B, S); by default 0 to S - 1.
            inputs_embeds: word vectors in place of `input_ids`, (B, S, H).
            **kwargs: `output_hidden_states`, `output_attentions`, `return_dict`.

        Raises:
            ValueError: unless exactly one of `input_ids` and `inputs_embeds` is given; for an
                input longer than `max_position_embeddings`.
        """
        if (input_ids is None) == (inputs_embeds is None):
            raise ValueError("give exactly one of input_ids and inputs_embeds")
        hidden_states = self.embeddings(input_ids, inputs_embeds, position_ids)
        mask = None
        if attention_mask is not None:
            mask = additive_mask(attention_mask, hidden_states.dtype)
        angles = self._rotary_angles(hidden_states, position_ids)
        for layer in self.layers:
            hidden_states = layer(hidden_states, mask, angles, **kwargs)
        return BaseModelOutput(last_hidden_state=self.final_norm(hidden_states))

    def _rotary_angles(self, hidden_states: Tensor, position_ids: Tensor | None) -> Tensor | None:
        """Return the angle of each position and pair of elements: ([B, 1,] S, h / 2), or None."""
        if self.config.position_embedding_type != "rotary":
            return None
        device = hidden_states.device
        if position_ids is None:
            position_ids = torch.arange(hidden_states.shape[1], device=device)
        else:
            position_ids = position_ids.unsqueeze(1)
        return position_ids.unsqueeze(-1) * frequencies(self.config.head_size, device)
