"""What the heads on a pooled sequence share: pool, dense, activation, dropout, linear scores."""

from torch import Tensor, nn

from ultrafastbert.fff.activations import ACTIVATIONS
from ultrafastbert.models.bert.configuration import UltraFastBertConfig
from ultrafastbert.models.bert.modeling import UltraFastBertModel, UltraFastBertPreTrainedModel
from ultrafastbert.models.bert.pooling import pool


class UltraFastBertPooledModel(UltraFastBertPreTrainedModel):
    """The encoder with `n_scores` scores for a sequence."""

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
