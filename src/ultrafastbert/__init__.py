"""UltraFastBERT: encoders whose feedforward layers visit a dozen of thousands of neurons."""

from importlib.metadata import version

from ultrafastbert.bundled import bundled_model
from ultrafastbert.encode import sentence_transformer
from ultrafastbert.layers import (
    FastFeedForward,
    FeedForward,
    GatedFeedForward,
    hardening_loss,
)
from ultrafastbert.models import (
    UltraFastBertConfig,
    UltraFastBertForMaskedLM,
    UltraFastBertForMultipleChoice,
    UltraFastBertForQuestionAnswering,
    UltraFastBertForSentenceEmbedding,
    UltraFastBertForSequenceClassification,
    UltraFastBertForTokenClassification,
    UltraFastBertModel,
)
from ultrafastbert.ops import fast_feedforward, use_kernel, visited_leaves

__version__ = version("ultrafastbert")

__all__ = [
    "FastFeedForward",
    "FeedForward",
    "GatedFeedForward",
    "UltraFastBertConfig",
    "UltraFastBertForMaskedLM",
    "UltraFastBertForMultipleChoice",
    "UltraFastBertForQuestionAnswering",
    "UltraFastBertForSentenceEmbedding",
    "UltraFastBertForSequenceClassification",
    "UltraFastBertForTokenClassification",
    "UltraFastBertModel",
    "bundled_model",
    "fast_feedforward",
    "hardening_loss",
    "sentence_transformer",
    "use_kernel",
    "visited_leaves",
]
