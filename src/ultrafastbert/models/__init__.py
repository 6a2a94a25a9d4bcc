"""UltraFastBERT models in Hugging Face's manner, known to the Auto classes; imported when used."""

from typing import TYPE_CHECKING

from ultrafastbert.imports.lazy import lazy_names

if TYPE_CHECKING:
    from ultrafastbert.models.bert.configuration import UltraFastBertConfig
    from ultrafastbert.models.bert.modeling import UltraFastBertModel
    from ultrafastbert.models.bert.sequence_heads import (
        UltraFastBertForMultipleChoice,
        UltraFastBertForSentenceEmbedding,
        UltraFastBertForSequenceClassification,
    )
    from ultrafastbert.models.bert.token_heads import (
        UltraFastBertForMaskedLM,
        UltraFastBertForQuestionAnswering,
        UltraFastBertForTokenClassification,
    )
else:
    __getattr__, __dir__ = lazy_names(
        __name__,
        {
            "bert.configuration": ["UltraFastBertConfig"],
            "bert.modeling": ["UltraFastBertModel"],
            "bert.sequence_heads": [
                "UltraFastBertForMultipleChoice",
                "UltraFastBertForSentenceEmbedding",
                "UltraFastBertForSequenceClassification",
            ],
            "bert.token_heads": [
                "UltraFastBertForMaskedLM",
                "UltraFastBertForQuestionAnswering",
                "UltraFastBertForTokenClassification",
            ],
        },
        modules=["bert", "converted", "io"],
    )

__all__ = [
    "UltraFastBertConfig",
    "UltraFastBertForMaskedLM",
    "UltraFastBertForMultipleChoice",
    "UltraFastBertForQuestionAnswering",
    "UltraFastBertForSentenceEmbedding",
    "UltraFastBertForSequenceClassification",
    "UltraFastBertForTokenClassification",
    "UltraFastBertModel",
]
