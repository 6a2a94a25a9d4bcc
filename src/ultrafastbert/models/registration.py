"""Registers configurations and models with the Auto classes, without importing a model's module.

transformers imports its Auto classes while its own modelling modules are not complete, so models
cannot be imported at that moment: a class that stands for the model is registered, and the model
itself once its module is imported.
"""

import sys
from importlib import import_module
from typing import Any

AUTO_CONFIG = "transformers.models.auto.configuration_auto"
AUTO_MODELS = "transformers.models.auto.modeling_auto"
# Auto class -> our module and class.
MODELS = {
    "AutoModel": ("modeling", "UltraFastBertModel"),
    "AutoModelForMaskedLM": ("token_heads", "UltraFastBertForMaskedLM"),
    "AutoModelForSequenceClassification": (
        "sequence_heads",
        "UltraFastBertForSequenceClassification",
    ),
    "AutoModelForTokenClassification": ("token_heads", "UltraFastBertForTokenClassification"),
    "AutoModelForQuestionAnswering": ("token_heads", "UltraFastBertForQuestionAnswering"),
    "AutoModelForMultipleChoice": ("sequence_heads", "UltraFastBertForMultipleChoice"),
}


def module_of(name: str) -> str:
    """Return the full name of a module of models."""
    return f"ultrafastbert.models.bert.{name}"


def register_configurations() -> None:
    """Make our configurations, and those of converted models, known to `AutoConfig`."""
    from ultrafastbert.models.bert.configuration import CrammedBertConfig, UltraFastBertConfig
    from ultrafastbert.models.converted.configuration import register_converted

    mapping = sys.modules[AUTO_CONFIG].CONFIG_MAPPING
    for each in (UltraFastBertConfig, CrammedBertConfig):
        mapping.register(each.model_type, each, exist_ok=True)
    register_converted(mapping)


def register_models() -> None:
    """Make our models known to the Auto classes that are there: imported models as themselves."""
    from ultrafastbert.models.bert.configuration import UltraFastBertConfig

    for auto_name, (module, name) in MODELS.items():
        auto_class = getattr(sys.modules.get(AUTO_MODELS), auto_name, None)
        if auto_class is not None:
            model = getattr(sys.modules.get(module_of(module)), name, None)
            model = model or _stand_in(name, module_of(module), UltraFastBertConfig)
            auto_class.register(UltraFastBertConfig, model, exist_ok=True)


class _Imported(type):
    """Type of a class that stands for a model's, whose module is imported when it is used."""

    def __getattr__(cls, name: str) -> Any:
        return getattr(_model(cls), name)

    def __call__(cls, *args: Any, **options: Any) -> Any:
        return _model(cls)(*args, **options)


def _stand_in(name: str, module: str, config_class: type) -> Any:
    return _Imported(name, (), {"__module__": module, "config_class": config_class})


def _model(stand_in: type) -> Any:
    return getattr(import_module(stand_in.__module__), stand_in.__name__)


# What to call after the import of which module.
CALLS = {
    AUTO_CONFIG: register_configurations,
    AUTO_MODELS: register_models,
    **{module_of(module): register_models for module, _ in MODELS.values()},
}
