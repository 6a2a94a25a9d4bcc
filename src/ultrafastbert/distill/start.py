"""Going on from a model that was converted before, as it is or with a dense block beside its trees.

Layers need not learn alone again: the whole model is trained on, on more text or another one.
"""

from pathlib import Path

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from ultrafastbert.fff.layer import FastFeedForward
from ultrafastbert.fff.quantization import Weights, dequantize
from ultrafastbert.models.converted.feedforward import ConvertedFeedForward
from ultrafastbert.models.converted.model import Converted
from ultrafastbert.models.io.saved import load_as_saved

NEW_BLOCK = ".inner.shared."


def go_on_from(student: PreTrainedModel, folder: Path) -> None:
    """Give a converted model the weights of a saved one, in place; quantized ones in float32.

    A dense block that the saved model lacks starts with output weights of zero, so that the model
    computes what the saved one does.

    Raises OSError for files that are missing; ValueError for a model that is not converted, or of
    other sizes or trees.
    """
    start = load_as_saved(folder)
    if not isinstance(start, Converted):
        raise ValueError(
            f"start={str(folder)!r} holds a model that was not converted: {type(start).__name__}"
        )
    state, wanted = _float_state(start), student.state_dict()
    new = [name for name in wanted if name not in state and NEW_BLOCK in name]
    wrong = sorted(
        name
        for name in {*state, *wanted}.difference(new)
        if name not in state or name not in wanted or state[name].shape != wanted[name].shape
    )
    if wrong:
        raise ValueError(
            f"start={str(folder)!r} does not fit: {wrong[0]} is {_shape(state, wrong[0])} there "
            f"and {_shape(wanted, wrong[0])} here; it must have the same original and trees"
        )
    for module in student.modules():
        if new and isinstance(module, FastFeedForward) and module.shared is not None:
            nn.init.normal_(module.shared.dense_in.weight, std=module.hidden_size**-0.5)
            nn.init.zeros_(module.shared.dense_in.bias)
            nn.init.zeros_(module.shared.dense_out.weight)
    student.load_state_dict(state, strict=False)


def _float_state(model: PreTrainedModel) -> dict[str, Tensor]:
    """Return the weights of a model by name, float32, with those of trees dequantized."""
    state = {name: weight.float() for name, weight in model.state_dict().items()}
    for name, module in model.named_modules():
        if isinstance(module, ConvertedFeedForward) and isinstance(module.inner, FastFeedForward):
            prefix = f"{name}.inner."
            for held in Weights._fields:
                state.pop(prefix + held, None)
            with torch.no_grad():
                weights = dequantize(module.inner.weights())
            state |= dict(
                zip((f"{prefix}{w}" for w in ("w_in", "b_in", "w_out")), weights, strict=True)
            )
    return state


def _shape(state: dict[str, Tensor], name: str) -> str:
    return str(tuple(state[name].shape)) if name in state else "missing"
