"""UltraFastBERT models in Hugging Face's manner, registered with the Auto classes."""

from transformers import (
    AutoConfig,
    AutoModel,
    AutoModelForMaskedLM,
    AutoModelForSequenceClassification,
)

from ultrafastbert.models.configuration import CrammedBertConfig, UltraFastBertConfig
from ultrafastbert.models.heads import (
    UltraFastBertForMaskedLM,
    UltraFastBertForSequenceClassification,
)
from ultrafastbert.models.modeling import UltraFastBertModel

AutoConfig.register("ultrafastbert", UltraFastBertConfig)
AutoConfig.register(CrammedBertConfig.model_type, CrammedBertConfig)
AutoModel.register(UltraFastBertConfig, UltraFastBertModel)
AutoModelForMaskedLM.register(UltraFastBertConfig, UltraFastBertForMaskedLM)
AutoModelForSequenceClassification.register(
    UltraFastBertConfig, UltraFastBertForSequenceClassification
)

__all__ = [
    "UltraFastBertConfig",
    "UltraFastBertForMaskedLM",
    "UltraFastBertForSequenceClassification",
    "UltraFastBertModel",
]
