"""Models with quantized fast feedforward layers: quantizing, and loading what was quantized."""

import copy
from typing import Any

from transformers import PreTrainedConfig, PreTrainedModel
from typing_extensions import Self

from ultrafastbert.fff.layer import FastFeedForward


class Quantizable(PreTrainedModel):
    """A model whose configuration has `weight_dtype` and `exact_routing`."""

    def quantize_(self, weight_dtype: str, exact_routing: bool = False) -> Self:
        """Quantize the weights of all fast feedforward layers, for inference.

        See `ultrafastbert.FastFeedForward.quantize_`. Raises ValueError for a model without such
        layers, and where one cannot be quantized; then none is.
        """
        layers = [m for m in self.modules() if isinstance(m, FastFeedForward)]
        if not layers:
            raise ValueError("the model has no fast feedforward layers, so no weights to quantize")
        for layer in layers:  # all or none
            layer.check_quantizable(weight_dtype)
        for layer in layers:
            layer.quantize_(weight_dtype, exact_routing)
        self.config.weight_dtype, self.config.exact_routing = weight_dtype, exact_routing
        return self


def settle_weight_dtype(
    path: Any,
    config_class: type[PreTrainedConfig],
    hub: dict[str, Any],
    options: dict[str, Any],
    weight_dtype: str | None,
    exact_routing: bool,
) -> tuple[str | None, bool]:
    """Return the `weight_dtype` to quantize loaded weights to, or None, and `exact_routing`.

    Raises ValueError where the weights are saved in another dtype than the one asked for.
    """
    config: Any = options.get("config")
    if isinstance(config, config_class):  # the Auto classes put it there
        weight_dtype = weight_dtype or config.weight_dtype
        exact_routing = exact_routing or config.exact_routing
    if not weight_dtype:
        return None, False
    stored: Any = config_class.from_pretrained(path, **hub)
    if stored.weight_dtype and stored.weight_dtype != weight_dtype:
        raise ValueError(
            f"weight_dtype={weight_dtype!r}: the weights in {path} are {stored.weight_dtype}; "
            "load the original"
        )
    if stored.weight_dtype:
        return None, False
    if isinstance(config, config_class):
        options["config"] = full = copy.deepcopy(config)
        full.weight_dtype, full.exact_routing = None, False
    return weight_dtype, exact_routing
