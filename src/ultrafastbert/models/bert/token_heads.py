"""The heads that score every token: masked language model, token classes, question answering.

Sizes in comments: B batch, S sequence, H hidden, V vocabulary.
"""

from torch import Tensor, nn
from transformers.modeling_outputs import (
    MaskedLMOutput,
    QuestionAnsweringModelOutput,
    TokenClassifierOutput,
)
from transformers.utils.generic import can_return_tuple

from ultrafastbert.fff.activations import ACTIVATIONS
from ultrafastbert.models.bert.configuration import UltraFastBertConfig
from ultrafastbert.models.bert.modeling import UltraFastBertModel, UltraFastBertPreTrainedModel


class HeadTransform(nn.Module):
    """An optional layer before the decoder: dense, activation, norm; (..., H) -> (..., H)."""

    def __init__(self, config: UltraFastBertConfig):
        super().__init__()
        self.dense = nn.Linear(config.hidden_size, config.hidden_size, bias=config.use_bias)
        self.activation = ACTIVATIONS[config.hidden_act].forward
        self.norm = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)

    def forward(self, hidden_states: Tensor) -> Tensor:
        """Transform the states of tokens."""
        return self.norm(self.activation(self.dense(hidden_states)))


class UltraFastBertForMaskedLM(UltraFastBertPreTrainedModel):
    """The encoder with a decoder tied to the word embedding, for masked language modelling."""

    _tied_weights_keys = {  # noqa: RUF012, the base class declares it so
        "decoder.weight": "model.embeddings.word_embeddings.weight"
    }

    def __init__(self, config: UltraFastBertConfig):
        super().__init__(config)
        self.model = UltraFastBertModel(config)
        self.transform = HeadTransform(config) if config.head_transform else None
        self.decoder = nn.Linear(config.hidden_size, config.vocab_size, bias=config.decoder_bias)
        self.post_init()

    def get_output_embeddings(self) -> nn.Module:
        """Return the decoder."""
        return self.decoder

    def set_output_embeddings(self, new_embeddings: nn.Linear) -> None:
        """Replace the decoder."""
        self.decoder = new_embeddings

    def decode(self, hidden_states: Tensor) -> Tensor:
        """Return the logits of tokens by their last hidden states: (..., H) -> (..., V)."""
        if self.transform is not None:
            hidden_states = self.transform(hidden_states)
        return self.decoder(hidden_states)

    @can_return_tuple
    def forward(
        self,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        position_ids: Tensor | None = None,
        inputs_embeds: Tensor | None = None,
        labels: Tensor | None = None,
        **kwargs,
    ) -> MaskedLMOutput:
        """Predict tokens; arguments as in `UltraFastBertModel.forward`.

        `labels` (B, S) hold the tokens to predict and -100 elsewhere. Logits are (B, S, V); in
        training mode, with labels and `config.sparse_prediction`, (labelled positions, V).
        """
        outputs = self.model(
            input_ids, attention_mask, position_ids, inputs_embeds, return_dict=True, **kwargs
        )
        hidden_states = outputs.last_hidden_state
        if self.training and labels is not None and self.config.sparse_prediction:
            labelled = labels != -100
            hidden_states, labels = hidden_states[labelled], labels[labelled]
        logits = self.decode(hidden_states)
        loss = None
        if labels is not None:
            loss = self.loss_function(logits, labels, vocab_size=self.config.vocab_size, **kwargs)
        return MaskedLMOutput(
            loss=loss,
            logits=logits,
            hidden_states=outputs.hidden_states,
            attentions=outputs.attentions,
        )


class UltraFastBertForTokenClassification(UltraFastBertPreTrainedModel):
    """The encoder with dropout and a linear layer on every token, such as for named entities."""

    def __init__(self, config: UltraFastBertConfig):
        super().__init__(config)
        self.num_labels = config.num_labels or 2
        self.model = UltraFastBertModel(config)
        self.dropout = nn.Dropout(config.classifier_dropout)
        self.classifier = nn.Linear(config.hidden_size, self.num_labels)
        self.post_init()

    @can_return_tuple
    def forward(
        self,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        position_ids: Tensor | None = None,
        inputs_embeds: Tensor | None = None,
        labels: Tensor | None = None,
        **kwargs,
    ) -> TokenClassifierOutput:
        """Classify tokens; arguments as in `UltraFastBertModel.forward`.

        `labels` (B, S) are class ids, -100 for tokens that do not count. Logits are
        (B, S, num_labels).
        """
        outputs = self.model(
            input_ids, attention_mask, position_ids, inputs_embeds, return_dict=True, **kwargs
        )
        logits = self.classifier(self.dropout(outputs.last_hidden_state))
        loss = None
        if labels is not None:
            loss = self.loss_function(logits, labels, self.config, **kwargs)
        return TokenClassifierOutput(
            loss=loss,
            logits=logits,
            hidden_states=outputs.hidden_states,
            attentions=outputs.attentions,
        )


class UltraFastBertForQuestionAnswering(UltraFastBertPreTrainedModel):
    """The encoder with a linear layer that scores every token as start and end of the answer."""

    def __init__(self, config: UltraFastBertConfig):
        super().__init__(config)
        self.model = UltraFastBertModel(config)
        self.qa_outputs = nn.Linear(config.hidden_size, 2)
        self.post_init()

    @can_return_tuple
    def forward(
        self,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        position_ids: Tensor | None = None,
        inputs_embeds: Tensor | None = None,
        start_positions: Tensor | None = None,
        end_positions: Tensor | None = None,
        **kwargs,
    ) -> QuestionAnsweringModelOutput:
        """Score answers; arguments as in `UltraFastBertModel.forward`.

        `start_positions` and `end_positions` (B) are the first and the last token of the answer; a
        position behind the sequence does not count. Logits of starts and ends are (B, S) each.
        """
        outputs = self.model(
            input_ids, attention_mask, position_ids, inputs_embeds, return_dict=True, **kwargs
        )
        start_logits, end_logits = self.qa_outputs(outputs.last_hidden_state).unbind(-1)
        loss = None
        if start_positions is not None and end_positions is not None:
            loss = self.loss_function(
                start_logits, end_logits, start_positions, end_positions, **kwargs
            )
        return QuestionAnsweringModelOutput(
            loss=loss,
            start_logits=start_logits,
            end_logits=end_logits,
            hidden_states=outputs.hidden_states,
            attentions=outputs.attentions,
        )
