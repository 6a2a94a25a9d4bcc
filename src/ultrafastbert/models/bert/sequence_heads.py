"""The heads on one pooled vector per sequence: classes, choices, and the vector itself.

Sizes in comments: B batch, C choices, S sequence, H hidden.
"""

from torch import Tensor, nn
from transformers.modeling_outputs import (
    BaseModelOutputWithPooling,
    MultipleChoiceModelOutput,
    SequenceClassifierOutput,
)
from transformers.utils.generic import can_return_tuple

from ultrafastbert.fff.activations import ACTIVATIONS
from ultrafastbert.models.bert.configuration import UltraFastBertConfig
from ultrafastbert.models.bert.modeling import UltraFastBertModel, UltraFastBertPreTrainedModel
from ultrafastbert.models.bert.pooling import normalized, pool


class UltraFastBertPooledModel(UltraFastBertPreTrainedModel):
    """The encoder with `n_scores` scores of a sequence: pool, dense, activation, linear."""

    # The losses are means over the batch at hand, not over the batches that Trainer accumulates:
    # where it is not told so, it does not divide them.
    accepts_loss_kwargs = False

    def __init__(self, config: UltraFastBertConfig, n_scores: int):
        super().__init__(config)
        size = config.classifier_hidden_size
        self.model = UltraFastBertModel(config)
        self.pooler = nn.Identity() if size is None else nn.Linear(config.hidden_size, size)
        self.activation = ACTIVATIONS[config.classifier_act].forward
        self.dropout = nn.Dropout(config.classifier_dropout)
        self.classifier = nn.Linear(size or config.hidden_size, n_scores)
        self.post_init()

    def score(self, hidden_states: Tensor, attention_mask: Tensor | None) -> Tensor:
        """Score sequences by their last hidden states: (B, S, H) -> (B, n_scores)."""
        pooled = pool(hidden_states, attention_mask, self.config.classifier_pooling)
        return self.classifier(self.dropout(self.activation(self.pooler(pooled))))


class UltraFastBertForSequenceClassification(UltraFastBertPooledModel):
    """A sequence classifier, or a regression head where `num_labels` is 1."""

    def __init__(self, config: UltraFastBertConfig):
        super().__init__(config, config.num_labels or 2)
        self.num_labels = self.classifier.out_features

    @can_return_tuple
    def forward(
        self,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        position_ids: Tensor | None = None,
        inputs_embeds: Tensor | None = None,
        labels: Tensor | None = None,
        **kwargs,
    ) -> SequenceClassifierOutput:
        """Classify sequences; arguments as in `UltraFastBertModel.forward`.

        `labels` are class ids (B); floats (B) for regression (mean squared error); or 0.0 and 1.0
        (B, num_labels) for multi-label classification. Logits are (B, num_labels).
        """
        outputs = self.model(
            input_ids, attention_mask, position_ids, inputs_embeds, return_dict=True, **kwargs
        )
        logits = self.score(outputs.last_hidden_state, attention_mask)
        loss = None
        if labels is not None:
            loss = self.loss_function(
                labels=labels, pooled_logits=logits, config=self.config, **kwargs
            )
        return SequenceClassifierOutput(
            loss=loss,
            logits=logits,
            hidden_states=outputs.hidden_states,
            attentions=outputs.attentions,
        )


class UltraFastBertForMultipleChoice(UltraFastBertPooledModel):
    """The encoder with a pooled head that scores each choice."""

    def __init__(self, config: UltraFastBertConfig):
        super().__init__(config, 1)

    @can_return_tuple
    def forward(
        self,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        position_ids: Tensor | None = None,
        inputs_embeds: Tensor | None = None,
        labels: Tensor | None = None,
        **kwargs,
    ) -> MultipleChoiceModelOutput:
        """Score choices; arguments as in `UltraFastBertModel.forward`, but (B, C, S[, H]).

        `labels` (B) are the indices of the right choices. Logits are (B, C).
        Raises ValueError for input without a dimension of choices.
        """
        if input_ids is not None and input_ids.dim() != 3:
            raise ValueError(
                f"input_ids of shape {tuple(input_ids.shape)} must be (batch, choices, sequence)"
            )
        flat = [
            None if tensor is None else tensor.flatten(0, 1)
            for tensor in (input_ids, attention_mask, position_ids, inputs_embeds)
        ]
        outputs = self.model(*flat, return_dict=True, **kwargs)
        scores = self.score(outputs.last_hidden_state, flat[1])  # (B * C, 1)
        n_choices = next(x for x in (input_ids, inputs_embeds) if x is not None).shape[1]
        logits = scores.view(-1, n_choices)
        return MultipleChoiceModelOutput(
            loss=None if labels is None else nn.functional.cross_entropy(logits, labels),
            logits=logits,
            hidden_states=outputs.hidden_states,
            attentions=outputs.attentions,
        )


class UltraFastBertForSentenceEmbedding(UltraFastBertPreTrainedModel):
    """The encoder with `pooler_output`, one vector per sentence; it adds no weights.

    `config.sentence_pooling` says how tokens are pooled, `config.normalize_embeddings` whether the
    vectors have length 1, so that dot products are cosines.
    """

    def __init__(self, config: UltraFastBertConfig):
        super().__init__(config)
        self.model = UltraFastBertModel(config)
        self.post_init()

    @can_return_tuple
    def forward(
        self,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        position_ids: Tensor | None = None,
        inputs_embeds: Tensor | None = None,
        **kwargs,
    ) -> BaseModelOutputWithPooling:
        """Embed sentences as `pooler_output` (B, H); arguments as in `UltraFastBertModel.forward`.

        `last_hidden_state` (B, S, H) is that of the encoder.
        """
        outputs = self.model(
            input_ids, attention_mask, position_ids, inputs_embeds, return_dict=True, **kwargs
        )
        pooled = pool(outputs.last_hidden_state, attention_mask, self.config.sentence_pooling)
        if self.config.normalize_embeddings:
            pooled = normalized(pooled)
        return BaseModelOutputWithPooling(
            last_hidden_state=outputs.last_hidden_state,
            pooler_output=pooled,
            hidden_states=outputs.hidden_states,
            attentions=outputs.attentions,
        )
