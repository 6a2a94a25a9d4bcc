"""UltraFastBERT models in Hugging Face's manner, registered with the Auto classes."""

from transformers import (
    AutoConfig,
    AutoModel,
    AutoModelForMaskedLM,
    AutoModelForMultipleChoice,
    AutoModelForQuestionAnswering,
    AutoModelForSequenceClassification,
    AutoModelForTokenClassification,
)

from ultrafastbert.models.bert.configuration import CrammedBertConfig, UltraFastBertConfig
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
from ultrafastbert.models.converted.model import register as _register_converted

AutoConfig.register("ultrafastbert", UltraFastBertConfig)
AutoConfig.register(CrammedBertConfig.model_type, CrammedBertConfig)
AutoModel.register(UltraFastBertConfig, UltraFastBertModel)
AutoModelForMaskedLM.register(UltraFastBertConfig, UltraFastBertForMaskedLM)
AutoModelForSequenceClassification.register(
    UltraFastBertConfig, UltraFastBertForSequenceClassification
)
AutoModelForTokenClassification.register(UltraFastBertConfig, UltraFastBertForTokenClassification)
AutoModelForQuestionAnswering.register(UltraFastBertConfig, UltraFastBertForQuestionAnswering)
AutoModelForMultipleChoice.register(UltraFastBertConfig, UltraFastBertForMultipleChoice)
_register_converted()

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
