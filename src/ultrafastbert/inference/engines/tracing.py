"""A saved model as the function of its inputs that exporters trace.

Sizes in comments: B batch, S sequence.
"""

import copy
import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.export import Dim
from transformers import AutoConfig, AutoTokenizer, PreTrainedModel

from ultrafastbert import models
from ultrafastbert.fff.layer import FastFeedForward
from ultrafastbert.models.converted.folder import n_positions
from ultrafastbert.models.io.saved import load_as_saved, load_complete

TEXT_INPUTS = ("input_ids", "attention_mask", "token_type_ids")
IMAGE_INPUT = "pixel_values"
# Sizes of 0 and 1 are taken for constants by the tracer, and so are equal ones.
EXAMPLE_BATCH, EXAMPLE_CHOICES, EXAMPLE_LENGTH = 2, 3, 7


class NamedOutputs(nn.Module):
    """A model that returns a plain dictionary of its outputs, those that are tensors."""

    def __init__(self, model: PreTrainedModel):
        super().__init__()
        self.model = model

    def forward(
        self,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        token_type_ids: Tensor | None = None,
        pixel_values: Tensor | None = None,
    ) -> dict[str, Tensor]:
        """Return what the model computes of tokens and their mask, (B, S) each, or of images."""
        given = zip(
            (*TEXT_INPUTS, IMAGE_INPUT),
            (input_ids, attention_mask, token_type_ids, pixel_values),
            strict=True,
        )
        return outputs_of(self.model, {name: x for name, x in given if x is not None})


def outputs_of(model: PreTrainedModel, inputs: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return the outputs of a model that are tensors, by name: no caches."""
    outputs = model(**inputs, return_dict=True)
    return {name: x for name, x in outputs.items() if isinstance(x, Tensor)}


def load_ultrafastbert(folder: str | Path) -> PreTrainedModel:
    """Load an UltraFastBERT model in float32, as the class that its configuration names.

    Raises OSError for a folder without a model, ValueError for other architectures.
    """
    check_model_folder(folder)
    config = AutoConfig.from_pretrained(folder)
    name = next(iter(config.architectures or ()), None)
    known = [known for known in models.__all__ if known != "UltraFastBertConfig"]
    if name not in known:
        raise ValueError(
            f"the configuration in {folder} names the architecture {name!r}; it must be one of "
            f"{', '.join(known)}"
        )
    return load_complete(getattr(models, name), folder, dtype=torch.float32).eval()


def load_any(folder: str | Path) -> PreTrainedModel:
    """Load a dense, converted or UltraFastBERT model in float32; quantized layers stay so.

    Raises OSError for a folder without a model, ValueError for weights that do not fit.
    """
    check_model_folder(folder)
    model = load_as_saved(folder, dtype=torch.float32).eval()
    model.config.use_cache = False
    return model


def check_model_folder(folder: str | Path) -> None:
    """Raise FileNotFoundError for a folder without a configuration."""
    if not (Path(folder) / "config.json").exists():
        raise FileNotFoundError(f"{folder} is not the folder of a model: it has no config.json")


def input_names(model: PreTrainedModel, folder: str | Path | None = None) -> tuple[str, ...]:
    """Return the inputs of a model, `token_type_ids` where its tokenizer gives them."""
    if model.main_input_name == IMAGE_INPUT:
        return (IMAGE_INPUT,)
    is_parameter = "token_type_ids" in inspect.signature(model.forward).parameters
    takes_types = is_parameter and getattr(model.config, "type_vocab_size", 0) > 1
    gives_types = folder is None or _gives_types(Path(folder))
    return TEXT_INPUTS if takes_types and gives_types else TEXT_INPUTS[:2]


def _gives_types(folder: Path) -> bool:
    """Return whether the tokenizer of a folder tells a pair's texts apart; true without one."""
    if not (folder / "tokenizer_config.json").exists():
        return True
    return "token_type_ids" in AutoTokenizer.from_pretrained(folder).model_input_names


def example_inputs(
    model: PreTrainedModel, batch: int, length: int, names: tuple[str, ...] = TEXT_INPUTS[:2]
) -> dict[str, Tensor]:
    """Return random tokens and their mask; the second half of the first sequence is padding."""
    if IMAGE_INPUT in names:
        size = model.config.image_size
        sizes = size if isinstance(size, (list, tuple)) else (size, size)
        return {IMAGE_INPUT: torch.randn(batch, model.config.num_channels, *sizes)}
    choices = (EXAMPLE_CHOICES,) if _takes_choices(model) else ()
    ids = torch.randint(0, model.config.vocab_size, (batch, *choices, length))
    mask = torch.ones_like(ids)
    mask[0, ..., length // 2 + 1 :] = 0
    inputs = {"input_ids": ids, "attention_mask": mask}
    if TEXT_INPUTS[2] in names:
        inputs[TEXT_INPUTS[2]] = (torch.arange(length) >= length // 3).long().expand_as(ids).clone()
    return inputs


def export_arguments(
    model: PreTrainedModel, names: tuple[str, ...] = TEXT_INPUTS[:2]
) -> dict[str, Any]:
    """Return the arguments of PyTorch's exporters: any batch, any length up to the longest."""
    length = min(EXAMPLE_LENGTH, n_positions(model) or EXAMPLE_LENGTH)
    return {
        "args": (),
        "kwargs": example_inputs(model, EXAMPLE_BATCH, length, names),
        "dynamic_shapes": dict.fromkeys(names, _dynamic_dimensions(model, names)),
    }


def with_layers(
    model: PreTrainedModel, replace: Callable[[FastFeedForward], nn.Module]
) -> PreTrainedModel:
    """Return a model with other fast feedforward layers; all other weights are shared."""
    shared = {id(tensor): tensor for tensor in (*model.parameters(), *model.buffers())}
    model = copy.deepcopy(model, memo=shared)
    for module in list(model.modules()):
        for name, child in list(module.named_children()):
            if isinstance(child, FastFeedForward):
                setattr(module, name, replace(child))
    return model


def fast_layers(model: nn.Module) -> list[FastFeedForward]:
    """Return the fast feedforward layers of a model, in the order of its modules."""
    return [module for module in model.modules() if isinstance(module, FastFeedForward)]


def _takes_choices(model: PreTrainedModel) -> bool:
    return type(model).__name__.endswith("ForMultipleChoice")


def _dynamic_dimensions(model: PreTrainedModel, names: tuple[str, ...]) -> dict[int, Any]:
    """Return names and limits of the inputs' sizes; one that is always 1 stays constant."""
    longest = n_positions(model)
    dimensions = {0: Dim("batch")}
    if IMAGE_INPUT in names:
        return dimensions
    if _takes_choices(model):
        dimensions[1] = Dim("choices")
    if longest is None or longest > 1:
        dimensions[len(dimensions)] = Dim("sequence", max=longest)
    return dimensions
