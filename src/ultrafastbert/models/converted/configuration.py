"""What `AutoConfig` knows of converted models before it reads one: no model is imported for it."""

from typing import Any

from transformers import PreTrainedConfig

from ultrafastbert.models.converted.architectures import OWN, PREFIX


class ConvertedConfig(PreTrainedConfig):
    """What `AutoConfig` takes the configuration of any converted model for, until it reads it."""

    @classmethod
    def from_dict(cls, config_dict: dict[str, Any], **options: Any) -> Any:
        """Return the configuration of a converted model as the class of its architecture."""
        from transformers import CONFIG_MAPPING

        from ultrafastbert.models.converted.model import config_class

        original: Any = CONFIG_MAPPING[original_type(config_dict["model_type"])]
        return config_class(original).from_dict(config_dict, **options)


def original_type(model_type: str) -> str:
    """Return the model type of the architecture that a converted model comes from."""
    return model_type.removeprefix(PREFIX)


def register_converted(mapping: Any) -> None:
    """Make the configurations of converted models, of any architecture, known to a mapping.

    The mapping is transformers' from model types to classes, `CONFIG_MAPPING`.
    """
    for model_type in list(mapping):
        if not model_type.startswith(OWN):
            mapping.register(PREFIX + model_type, ConvertedConfig, exist_ok=True)
