"""UltraFastBERT models in Hugging Face's manner, known to the Auto classes; imported when used."""

from typing import TYPE_CHECKING

from ultrafastbert.imports.lazy import lazy_names

if TYPE_CHECKING:
    from ultrafastbert.models.bert.configuration import UltraFastBertConfig
    from ultrafastbert.models.bert.heads import (
        UltraFastBertForMaskedLM,
        UltraFastBertForSequenceClassification,
    )
    from ultrafastbert.models.bert.modeling import UltraFastBertModel
    from ultrafastbert.models.bert.multiple_choice import UltraFastBertForMultipleChoice
    from ultrafastbert.models.bert.sentence_embedding import UltraFastBertForSentenceEmbedding
    from ultrafastbert.models.bert.token_heads import (
        UltraFastBertForQuestionAnswering,
        UltraFastBertForTokenClassification,
    )
else:
    __getattr__, __dir__ = lazy_names(
        __name__,
        {
            "bert.configuration": ["UltraFastBertConfig"],
            "bert.heads": ["UltraFastBertForMaskedLM", "UltraFastBertForSequenceClassification"],
            "bert.modeling": ["UltraFastBertModel"],
            "bert.multiple_choice": ["UltraFastBertForMultipleChoice"],
            "bert.sentence_embedding": ["UltraFastBertForSentenceEmbedding"],
            "bert.token_heads": [
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
