"""UltraFastBERT: encoders whose feedforward layers visit a dozen of thousands of neurons."""

from importlib.metadata import version

from ultrafastbert.fff.dense import FeedForward, GatedFeedForward
from ultrafastbert.fff.layer import FastFeedForward, hardening_loss
from ultrafastbert.fff.ops import fast_feedforward, visited_leaves
from ultrafastbert.inference.bundled import bundled_model
from ultrafastbert.inference.encode import sentence_transformer
from ultrafastbert.kernels import use_kernel
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
