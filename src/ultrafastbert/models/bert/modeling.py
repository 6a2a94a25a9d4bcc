"""The UltraFastBERT encoder, as a Hugging Face model without a head.

Architecture: crammedBERT (arXiv 2212.14034): pre-norm, scaled sinusoidal positions, no biases in
linear layers. The FF layer is chosen by `config.ffn_type`. Sizes in comments: B batch, S sequence,
H hidden.
"""

import torch
from torch import Tensor, nn
from transformers import initialization as init
from transformers.modeling_layers import GradientCheckpointingLayer
from transformers.modeling_outputs import BaseModelOutput
from transformers.utils.output_capturing import capture_outputs

from ultrafastbert.fff.dense import FeedForward, GatedFeedForward
from ultrafastbert.fff.layer import FastFeedForward
from ultrafastbert.models.bert.attention import UltraFastBertAttention, additive_mask
from ultrafastbert.models.bert.configuration import UltraFastBertConfig
from ultrafastbert.models.bert.embeddings import UltraFastBertEmbeddings, frequencies, sinusoids
from ultrafastbert.models.io.card import WithCard
from ultrafastbert.models.io.checked_loading import CheckedLoading
from ultrafastbert.models.quantized import Quantizable


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
            input_ids: token ids, (B, S) int64.
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
