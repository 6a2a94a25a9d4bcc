"""The head that chooses one of several sequences, such as endings of a story.

Sizes in comments: B batch, C choices, S sequence, H hidden.
"""

from torch import Tensor, nn
from transformers.modeling_outputs import MultipleChoiceModelOutput
from transformers.utils.generic import can_return_tuple

from ultrafastbert.models.bert.configuration import UltraFastBertConfig
from ultrafastbert.models.bert.pooled import UltraFastBertPooledModel


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
        scores = self.score(outputs.last_hidden_state, flat[1])  # (B * C, 1)
        n_choices = next(x for x in (input_ids, inputs_embeds) if x is not None).shape[1]
        logits = scores.view(-1, n_choices)
        return MultipleChoiceModelOutput(
            loss=None if labels is None else nn.functional.cross_entropy(logits, labels),
            logits=logits,
            hidden_states=outputs.hidden_states,
            attentions=outputs.attentions,
        )
