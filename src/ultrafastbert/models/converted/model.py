"""Converted models: the original's class with other FF layers, known to the Auto classes.

A converted BERT is a `BertModel` (or one of its headed classes) whose FF layers were replaced, and
its configuration is a `BertConfig` with more fields, so whatever works with the original works with
it. The classes of an architecture are made when they are first needed, since importing all
architectures would take seconds.
"""

from collections.abc import Sequence
from functools import cache, reduce
from importlib import import_module
from typing import Any, cast

import transformers
from torch import nn
from transformers import CONFIG_MAPPING, TOKENIZER_MAPPING, PreTrainedConfig, PreTrainedModel
from transformers.models.auto import modeling_auto

from ultrafastbert.fff.layer import FastFeedForward
from ultrafastbert.models.converted.architectures import (
    OWN,
    PREFIX,
    FeedForwardLocation,
    check_layers,
    layers_of,
    location_of,
    replace_feedforward,
)
from ultrafastbert.models.converted.feedforward import ConvertedFeedForward
from ultrafastbert.models.io.card import WithCard
from ultrafastbert.models.io.checked_loading import HUB_OPTIONS
from ultrafastbert.models.quantized import Quantizable, settle_weight_dtype

# The names of the classes made here begin with it.
MADE = "Converted"


@cache
def config_class(original: type[PreTrainedConfig]) -> type[PreTrainedConfig]:
    """Return the class of converted models' configurations for one such as `BertConfig`.

    The Auto classes know it, and its models, from then on. Raises ValueError for the configurations
    of models that are fast already.
    """
    if original.model_type.startswith(OWN):
        raise ValueError(
            f"cannot convert a model of type {original.model_type!r}: only dense models of other "
            "kinds are converted"
        )
    fields = {
        "__annotations__": {
            "ffn": list[str | None] | None,
            "ffn_block": str | None,
            "weight_dtype": str | None,
            "exact_routing": bool,
        },
        "__doc__": f"`{original.__name__}` with `ffn`, what replaces each FF layer, a name such as "
        "1x7x8, or None where the original stays, and `ffn_block`, where FF layers sit, see "
        "`architectures.FeedForwardLocation`; `weight_dtype` and `exact_routing`, smaller weights "
        "of fast ones, see `ultrafastbert.FastFeedForward.quantize_`.",
        **_names(original),
        "ffn": None,
        "ffn_block": None,
        "weight_dtype": None,
        "exact_routing": False,
        "model_type": PREFIX + original.model_type,
    }
    name = MADE + original.__name__
    made = cast(type[PreTrainedConfig], type(name, (original,), fields))
    _make_known(original, made)
    return made


def _make_known(original: type[PreTrainedConfig], made: type[PreTrainedConfig]) -> None:
    """Register a class of configurations and its models wherever the original is."""
    CONFIG_MAPPING.register(made.model_type, made, exist_ok=True)
    if original in TOKENIZER_MAPPING:
        TOKENIZER_MAPPING.register(made, TOKENIZER_MAPPING[original])
    for auto_class in _auto_classes():
        if original in auto_class._model_mapping:
            on_demand = type(auto_class.__name__, (_OnDemand,), {"auto_class": auto_class})
            auto_class.register(made, on_demand)


def _auto_classes() -> list[Any]:
    """Return `AutoModel`, `AutoModelForMaskedLM` and so on."""
    found = [each for each in vars(modeling_auto).values() if isinstance(each, type)]
    return [each for each in found if getattr(each, "_model_mapping", None) is not None]


class _OnDemand:
    """Registered with an Auto class: makes the model's class when a model is wanted."""

    auto_class: Any

    @classmethod
    def _class(cls, config: PreTrainedConfig) -> Any:
        original = cls.auto_class._model_mapping[type(config).__base__]
        return converted_class(original[0] if isinstance(original, tuple) else original)

    @classmethod
    def from_pretrained(cls, path: Any, *args: Any, config: Any, **options: Any) -> Any:
        return cls._class(config).from_pretrained(path, *args, config=config, **options)

    @classmethod
    def _from_config(cls, config: PreTrainedConfig, **options: Any) -> Any:
        return cls._class(config)._from_config(config, **options)


class Converted(Quantizable, WithCard):
    """Mixed into a model's class: builds it with the FF layers that its configuration names."""

    def __init__(self, config: PreTrainedConfig, *args: Any, **options: Any):
        super().__init__(config, *args, **options)
        location = location_of(self, config.ffn_block)
        for layer_id, ffn in enumerate(config.ffn or []):
            if ffn is not None:
                weights = (config.weight_dtype, config.exact_routing)
                new = ConvertedFeedForward(config.hidden_size, ffn, *weights)
                replace_feedforward(self, location, layer_id, new)

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
        weights of new FF layers are missing, and for a `weight_dtype` that is unknown or unfit.
        """
        path, wants_info = pretrained_model_name_or_path, options.pop("output_loading_info", False)
        options.setdefault("use_safetensors", True)
        config_class: Any = cls.config_class
        hub = {name: options[name] for name in HUB_OPTIONS if name in options}
        weight_dtype, exact_routing = settle_weight_dtype(
            path, config_class, hub, options, weight_dtype, exact_routing
        )
        loaded: Any = super().from_pretrained(path, *args, output_loading_info=True, **options)
        new = _converted_prefixes(loaded[0])
        missing = sorted(name for name in loaded[1]["missing_keys"] if name.startswith(new))
        if missing:
            raise ValueError(f"{path} lacks weights of the model: {', '.join(missing[:3])} ...")
        if weight_dtype:
            loaded[0].quantize_(weight_dtype, exact_routing)
        return loaded if wants_info else loaded[0]

    def _init_weights(self, module: nn.Module) -> None:
        if isinstance(module, FastFeedForward) and not module.weight_dtype:
            module.reset_parameters()
        super()._init_weights(module)


def _converted_prefixes(model: PreTrainedModel) -> tuple[str, ...]:
    """Return the beginnings of the names of weights in new FF layers."""
    names = (
        name for name, module in model.named_modules() if isinstance(module, ConvertedFeedForward)
    )
    return tuple(f"{name}." for name in names)


@cache
def converted_class(original: type[PreTrainedModel]) -> type[PreTrainedModel]:
    """Return the class of converted models for a class of transformers, such as `BertModel`."""
    config: Any = original.config_class
    fields = {"config_class": config_class(config), **_names(original)}
    return type(MADE + original.__name__, (Converted, original), fields)


def class_of_name(name: str) -> type:
    """Return a class by its name, as unpickling asks for it, such as `ConvertedBertModel`.

    Raises AttributeError for names of no such class.
    """
    original: Any = _original(name.removeprefix(MADE)) if name.startswith(MADE) else None
    is_class = isinstance(original, type)
    if is_class and issubclass(original, PreTrainedConfig):
        return config_class(original)
    if is_class and issubclass(original, PreTrainedModel):
        return converted_class(original)
    raise AttributeError(f"module {__package__!r} has no attribute {name!r}")


def _names(original: type) -> dict[str, str]:
    """Return the fields of a class that say where `class_of_name` finds it.

    Several modules may have an original of the same name, so the name holds the module where that
    is not `transformers` itself, with slashes, as a dot would name an attribute.
    """
    name = original.__name__
    if getattr(transformers, name, None) is not original:
        name = f"{original.__module__}:{original.__qualname__}".replace(".", "/")
    return {"__module__": __package__, "__qualname__": MADE + name}


def _original(name: str) -> Any:
    """Return what `_names` made a name of; None where it is not there."""
    module, _, names = name.rpartition(":")
    found: Any = import_module(module.replace("/", ".")) if module else transformers
    return reduce(lambda part, each: getattr(part, each, None), names.split("/"), found)


def converted_config(
    config: PreTrainedConfig, ffn: Sequence[str | None], location: FeedForwardLocation
) -> PreTrainedConfig:
    """Return a model's configuration with what replaces each FF layer."""
    fields = {**config.to_dict(), "ffn": list(ffn), "ffn_block": str(location)}
    fields.pop("model_type")
    original: Any = type(config)
    return config_class(original)(**fields)


def converted_copy(
    model: PreTrainedModel, ffn: Sequence[str | None], location: FeedForwardLocation | None = None
) -> PreTrainedModel:
    """Return a copy of a dense model, with or without head, whose FF layers are new ones.

    Args:
        model: any dense model of transformers.
        ffn: for each layer a name such as `1x7x8`, or None to keep the original FF layer.
        location: where FF layers sit; needed where `location_of` does not find it.

    Raises:
        ValueError: for an unknown architecture, a wrong number of layers, an unknown name.
    """
    original: Any = type(model)
    class_: Any = converted_class(original)
    location = location or location_of(model)
    if len(ffn) != (n_layers := len(layers_of(model, location))):
        raise ValueError(f"ffn names {len(ffn)} layers, but the model has {n_layers}")
    check_layers(
        model, location, [layer_id for layer_id, name in enumerate(ffn) if name is not None]
    )
    # In its dtype from the start: a conversion would round tables that models keep in float32.
    copy = class_._from_config(converted_config(model.config, ffn, location), dtype=model.dtype)
    new = _converted_prefixes(copy)
    kept = {name: w for name, w in model.state_dict().items() if not name.startswith(new)}
    copy.load_state_dict(kept, strict=False)  # new FF layers keep their own weights
    return copy.to(model.device).eval()
