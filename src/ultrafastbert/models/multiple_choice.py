"""The head that chooses one of several sequences, such as endings of a story.

Sizes in comments: B batch, C choices, S sequence, H hidden.
"""

from torch import Tensor, nn
from transformers.modeling_outputs import MultipleChoiceModelOutput
from transformers.utils.generic import can_return_tuple

from ultrafastbert.activations import ACTIVATIONS
from ultrafastbert.models.configuration import UltraFastBertConfig
from ultrafastbert.models.modeling import UltraFastBertModel, UltraFastBertPreTrainedModel
from ultrafastbert.models.pooling import pool


class UltraFastBertForMultipleChoice(UltraFastBertPreTrainedModel):
    """The encoder with the pooled head of sequence classification, which scores each choice."""

    # The loss is a mean over the batch at hand; Trainer divides it where it accumulates batches.
    accepts_loss_kwargs = False

    def __init__(self, config: UltraFastBertConfig):
        super().__init__(config)
        self.model = UltraFastBertModel(config)
        self.pooler = nn.Linear(config.hidden_size, config.classifier_hidden_size)
        self.activation = ACTIVATIONS[config.classifier_act].forward
        self.dropout = nn.Dropout(config.classifier_dropout)
        self.classifier = nn.Linear(config.classifier_hidden_size, 1)
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
    ) -> MultipleChoiceModelOutput:
        """Score choices; arguments as in `UltraFastBertModel.forward`, but (B, C, S[, H]).

        `labels` (B) are the numbers of the right choices. Logits are (B, C).
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
        pooled = pool(outputs.last_hidden_state, flat[1], self.config.classifier_pooling)
        scores = self.classifier(self.dropout(self.activation(self.pooler(pooled))))  # (B * C, 1)
        n_choices = next(x for x in (input_ids, inputs_embeds) if x is not None).shape[1]
        logits = scores.view(-1, n_choices)
        return MultipleChoiceModelOutput(
            loss=None if labels is None else nn.functional.cross_entropy(logits, labels),
            logits=logits,
            hidden_states=outputs.hidden_states,
            attentions=outputs.attentions,
        )
