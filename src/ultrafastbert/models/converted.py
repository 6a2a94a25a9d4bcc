"""Converted models: the original's class with other FF blocks, known to the Auto classes.

A converted BERT is a `BertModel` (or one of its headed classes) whose FF blocks were replaced, and
its configuration is a `BertConfig` with one more field, so whatever works with the original works
with it. The class of the configuration is made for every architecture of the table, that of the
model when it is first needed, since importing all architectures would take seconds.
"""

from functools import cache
from typing import Any

import transformers
from torch import nn
from transformers import CONFIG_MAPPING, AutoConfig, PreTrainedConfig, PreTrainedModel

from ultrafastbert.layers import FastFeedForward
from ultrafastbert.models.architectures import BLOCKS, PREFIX, block_of, layers_of, replace_block
from ultrafastbert.models.card import write_card
from ultrafastbert.models.converted_block import ConvertedBlock
from ultrafastbert.models.loading import HUB_OPTIONS
from ultrafastbert.models.quantized import Quantizable, settle_weight_dtype

AUTO_CLASSES = (
    "AutoModel",
    "AutoModelForMaskedLM",
    "AutoModelForMultipleChoice",
    "AutoModelForQuestionAnswering",
    "AutoModelForSequenceClassification",
    "AutoModelForTokenClassification",
)


def _config_class(model_type: str) -> type[PreTrainedConfig]:
    original = CONFIG_MAPPING[model_type]
    fields = {
        "__annotations__": {
            "ffn": list[str | None] | None,
            "weight_dtype": str | None,
            "exact_routing": bool,
        },
        "__doc__": f"`{original.__name__}` and `ffn`: what replaces the FF block of each layer, a "
        "name such as 1x7x8, or None where the original stays. `weight_dtype`, `exact_routing`: "
        "smaller weights of fast ones, see `ultrafastbert.FastFeedForward.quantize_`.",
        "__module__": __name__,
        "ffn": None,
        "weight_dtype": None,
        "exact_routing": False,
        "model_type": PREFIX + model_type,
    }
    return type(f"Converted{original.__name__}", (original,), fields)


CONFIG_CLASSES = {model_type: _config_class(model_type) for model_type in BLOCKS}


class Converted(Quantizable):
    """Mixed into the class of a model: builds it with the blocks that its configuration names."""

    def __init__(self, config: PreTrainedConfig, *args: Any, **options: Any):
        super().__init__(config, *args, **options)
        block = block_of(original_type(config))
        for layer, ffn in zip(layers_of(self, block), config.ffn or [], strict=False):
            if ffn is not None:
                weights = (config.weight_dtype, config.exact_routing)
                replace_block(layer, block, ConvertedBlock(config.hidden_size, ffn, *weights))

    @classmethod
    def from_pretrained(
        cls,
        pretrained_model_name_or_path: Any,
        *args: Any,
        weight_dtype: str | None = None,
        exact_routing: bool = False,
        **options: Any,
    ) -> Any:
        """Load a converted model from safetensors; `weight_dtype` makes smaller weights of them.

        See `quantize_`; the other options are those of Hugging Face. Raises ValueError where
        weights of blocks are missing, and for a `weight_dtype` that is unknown or does not fit.
        """
        path, wants_info = pretrained_model_name_or_path, options.pop("output_loading_info", False)
        options.setdefault("use_safetensors", True)
        config_class: Any = cls.config_class
        hub = {name: options[name] for name in HUB_OPTIONS if name in options}
        weight_dtype, exact_routing = settle_weight_dtype(
            path, config_class, hub, options, weight_dtype, exact_routing
        )
        loaded: Any = super().from_pretrained(path, *args, output_loading_info=True, **options)
        new = _new_blocks(loaded[0])
        missing = sorted(name for name in loaded[1]["missing_keys"] if name.startswith(new))
        if missing:
            raise ValueError(f"{path} lacks weights of the model: {', '.join(missing[:3])} ...")
        if weight_dtype:
            loaded[0].quantize_(weight_dtype, exact_routing)
        return loaded if wants_info else loaded[0]

    def save_pretrained(
        self, save_directory: Any, is_main_process: bool = True, *args: Any, **options: Any
    ) -> None:
        """Save the model, with a model card where nobody wrote a README.md."""
        super().save_pretrained(save_directory, is_main_process, *args, **options)
        if is_main_process:
            write_card(save_directory)

    def _init_weights(self, module: nn.Module) -> None:
        if isinstance(module, FastFeedForward) and not module.weight_dtype:
            module.reset_parameters()
        super()._init_weights(module)


def _new_blocks(model: PreTrainedModel) -> tuple[str, ...]:
    """Return the beginnings of the names of weights in blocks that were replaced."""
    names = (name for name, module in model.named_modules() if isinstance(module, ConvertedBlock))
    return tuple(f"{name}." for name in names)


def original_type(config: PreTrainedConfig) -> str:
    """Return the model type of the architecture that a converted model comes from."""
    return config.model_type.removeprefix(PREFIX)


@cache
def converted_class(original: type[PreTrainedModel]) -> type[PreTrainedModel]:
    """Return the class of converted models for a class of transformers, such as `BertModel`.

    Raises ValueError for an architecture whose blocks are not known.
    """
    original_config: Any = original.config_class
    block_of(original_config.model_type)
    config_class = CONFIG_CLASSES[original_config.model_type]
    fields = {"config_class": config_class, "__module__": __name__}
    return type(f"Converted{original.__name__}", (Converted, original), fields)


def converted_config(config: PreTrainedConfig, ffn: list[str | None]) -> PreTrainedConfig:
    """Return a model's configuration with what replaces the FF block of each layer."""
    block_of(config.model_type)
    fields = {**config.to_dict(), "ffn": ffn}
    fields.pop("model_type")
    return CONFIG_CLASSES[config.model_type](**fields)


def converted_copy(model: PreTrainedModel, ffn: list[str | None]) -> PreTrainedModel:
    """Return a copy of a dense model, with or without head, whose FF blocks are new ones.

    Args:
        model: any model of a known architecture.
        ffn: for each layer a name such as `1x7x8`, or None to keep the original block.

    Raises:
        ValueError: for an unknown architecture, a wrong number of layers, an unknown name.
    """
    block = block_of(model.config.model_type)
    if len(ffn) != (n_layers := len(layers_of(model, block))):
        raise ValueError(f"ffn names {len(ffn)} layers, but the model has {n_layers}")
    class_: Any = converted_class(type(model))  # type: ignore[arg-type]
    copy = class_(converted_config(model.config, ffn))
    copy.load_state_dict(model.state_dict(), strict=False)  # new blocks keep their own weights
    copy.to(model.dtype)
    return copy.eval()


class _OnDemand:
    """Registered with an Auto class: makes the model's class when a model is wanted."""

    auto_class: Any

    @classmethod
    def _original(cls, config: PreTrainedConfig) -> type[PreTrainedModel]:
        mapping = cls.auto_class._model_mapping
        return converted_class(mapping[type(CONFIG_MAPPING[original_type(config)]())])

    @classmethod
    def from_pretrained(cls, path: Any, *args: Any, config: Any, **options: Any) -> Any:
        return cls._original(config).from_pretrained(path, *args, config=config, **options)

    @classmethod
    def _from_config(cls, config: PreTrainedConfig, **options: Any) -> Any:
        return cls._original(config)._from_config(config, **options)


def register() -> None:
    """Make the configurations and models known to the Auto classes of transformers."""
    for config_class in CONFIG_CLASSES.values():
        AutoConfig.register(config_class.model_type, config_class)
    for name in AUTO_CLASSES:
        auto_class = getattr(transformers, name)
        on_demand = type(name, (_OnDemand,), {"auto_class": auto_class})
        for config_class in CONFIG_CLASSES.values():
            auto_class.register(config_class, on_demand)
