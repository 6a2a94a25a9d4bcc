"""UltraFastBERT: encoders whose feedforward layers visit a dozen of thousands of neurons.

Names are imported when they are first used. Operators are registered once torch is imported, models
once the Auto classes of transformers are, whoever imports them.
"""

from typing import TYPE_CHECKING

from ultrafastbert.imports import moved
from ultrafastbert.imports.hooks import after_import, register_operators
from ultrafastbert.imports.lazy import lazy_names
from ultrafastbert.inference import sentence_backend
from ultrafastbert.models import registration

if TYPE_CHECKING:
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

    __version__: str
else:
    __getattr__, __dir__ = lazy_names(
        __name__,
        {
            "fff.dense": ["FeedForward", "GatedFeedForward"],
            "fff.layer": ["FastFeedForward", "hardening_loss"],
            "fff.ops": ["fast_feedforward", "visited_leaves"],
            "inference.bundled": ["bundled_model"],
            "inference.encode": ["sentence_transformer"],
            "kernels": ["use_kernel"],
            "models": [
                "UltraFastBertConfig",
                "UltraFastBertForMaskedLM",
                "UltraFastBertForMultipleChoice",
                "UltraFastBertForQuestionAnswering",
                "UltraFastBertForSentenceEmbedding",
                "UltraFastBertForSequenceClassification",
                "UltraFastBertForTokenClassification",
                "UltraFastBertModel",
            ],
            "imports.version": ["__version__"],
        },
        modules=[
            "bench", "cli", "data", "distill", "evaluate", "fff", "inference", "interpret",
            "kernels", "models", "quickstart", "report", "rows", "runs", "train",
        ],
    )  # fmt: skip

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

moved.refuse_old_names()
after_import("torch", register_operators)
for _module, _call in registration.CALLS.items():
    after_import(_module, _call)
after_import(sentence_backend.TRANSFORMER, sentence_backend.follow_onnx_backend)
