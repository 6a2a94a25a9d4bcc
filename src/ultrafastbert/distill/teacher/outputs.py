"""A model's outputs on a batch: hidden states, and the logits of a head for whole texts."""

from typing import Any, NamedTuple

from torch import Tensor
from transformers import PreTrainedModel
from transformers.models.auto.modeling_auto import MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING_NAMES

_CLASSES = frozenset(MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING_NAMES.values())


class Outputs(NamedTuple):
    """A model's outputs on a batch.

    Attributes:
        body: those without the head: `last_hidden_state` and `hidden_states`.
        logits: of a sequence classifier or regression head, (B, C).
    """

    body: Any
    logits: Tensor | None


def has_sequence_head(model: PreTrainedModel) -> bool:
    """Return whether a model has a sequence classifier or a regression head."""
    return any(each.__name__ in _CLASSES for each in type(model).__mro__)


def outputs_of(model: PreTrainedModel, batch: dict[str, Tensor]) -> Outputs:
    """Run a model on a batch, with its head only if that is one for whole texts."""
    body: Any = model.base_model
    if not has_sequence_head(model):
        return Outputs(body(**batch, output_hidden_states=True), None)
    found = []
    handle = body.register_forward_hook(lambda module, inputs, output: found.append(output))
    try:
        logits = model(**batch, output_hidden_states=True).logits
    finally:
        handle.remove()
    return Outputs(found[0], logits)
