"""The encoder as a map from sentences to vectors.

Sizes in comments: B batch, S sequence, H hidden.
"""

from torch import Tensor
from transformers.modeling_outputs import BaseModelOutputWithPooling
from transformers.utils.generic import can_return_tuple

from ultrafastbert.models.bert.configuration import UltraFastBertConfig
from ultrafastbert.models.bert.modeling import UltraFastBertModel, UltraFastBertPreTrainedModel
from ultrafastbert.models.bert.pooling import normalized, pool


class UltraFastBertForSentenceEmbedding(UltraFastBertPreTrainedModel):
    """The encoder with `pooler_output`, one vector for a sentence; it has no weights of its own.

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
