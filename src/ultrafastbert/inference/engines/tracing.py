"""A saved model as the function of `input_ids` and `attention_mask` that exporters trace.

Sizes in comments: B batch, S sequence.
"""

from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.export import Dim
from transformers import AutoConfig, PreTrainedModel

from ultrafastbert import models
from ultrafastbert.models.io.saved import load_complete

INPUTS = ("input_ids", "attention_mask")
# Sizes of 0 and 1 are taken for constants by the tracer, and so are equal ones.
EXAMPLE_BATCH, EXAMPLE_CHOICES, EXAMPLE_LENGTH = 2, 3, 7


class NamedOutputs(nn.Module):
    """A model that returns a plain dictionary of its outputs."""

    def __init__(self, model: PreTrainedModel):
        super().__init__()
        self.model = model

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> dict[str, Tensor]:
        """Return what the model computes of tokens and their mask, (B, S) each."""
        return dict(self.model(input_ids, attention_mask, return_dict=True))


def load_ultrafastbert(folder: str | Path) -> PreTrainedModel:
    """Load an UltraFastBERT model in float32, as the class that its configuration names.

    Raises OSError for a folder without a model, ValueError for other architectures.
    """
    if not (Path(folder) / "config.json").exists():
        raise FileNotFoundError(f"{folder} is not the folder of a model: it has no config.json")
    config = AutoConfig.from_pretrained(folder)
    name = next(iter(config.architectures or ()), None)
    known = [known for known in models.__all__ if known != "UltraFastBertConfig"]
    if name not in known:
        raise ValueError(
            f"the configuration in {folder} names the architecture {name!r}; it must be one of "
            f"{', '.join(known)}"
        )
    return load_complete(getattr(models, name), folder, dtype=torch.float32).eval()


def example_inputs(model: PreTrainedModel, batch: int, length: int) -> dict[str, Tensor]:
    """Return random tokens and their mask; the second half of the first sequence is padding."""
    choices = (EXAMPLE_CHOICES,) if _takes_choices(model) else ()
    ids = torch.randint(0, model.config.vocab_size, (batch, *choices, length))
    mask = torch.ones_like(ids)
    mask[0, ..., length // 2 + 1 :] = 0
    return dict(zip(INPUTS, (ids, mask), strict=True))


def export_arguments(model: PreTrainedModel) -> dict[str, Any]:
    """Return the arguments of PyTorch's exporters: any batch, any length up to the longest."""
    length = min(EXAMPLE_LENGTH, model.config.max_position_embeddings)
    return {
        "args": (),
        "kwargs": example_inputs(model, EXAMPLE_BATCH, length),
        "dynamic_shapes": dict.fromkeys(INPUTS, _dynamic_dimensions(model)),
    }


def _takes_choices(model: PreTrainedModel) -> bool:
    return type(model).__name__.endswith("ForMultipleChoice")


def _dynamic_dimensions(model: PreTrainedModel) -> dict[int, Any]:
    """Return names and limits of the inputs' sizes; one that is always 1 stays constant."""
    longest = model.config.max_position_embeddings
    dimensions = {0: Dim("batch")}
    if _takes_choices(model):
        dimensions[1] = Dim("choices")
    if longest > 1:
        dimensions[len(dimensions)] = Dim("sequence", max=longest)
    return dimensions
