"""What a model makes of a batch: hidden states, and what its head says of each text."""

from typing import Any, NamedTuple

from torch import Tensor
from transformers import PreTrainedModel
from transformers.models.auto.modeling_auto import MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING_NAMES

_JUDGES = frozenset(MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING_NAMES.values())


class Outputs(NamedTuple):
    """What a model makes of a batch.

    Attributes:
        body: what it gives out without its head: `last_hidden_state` and `hidden_states`.
        logits: of its head, (B, C), if that judges whole texts.
    """

    body: Any
    logits: Tensor | None


def judges_texts(model: PreTrainedModel) -> bool:
    """Return whether a model has a head for whole texts: for their class, or a number."""
    return any(each.__name__ in _JUDGES for each in type(model).__mro__)


def outputs_of(model: PreTrainedModel, batch: dict[str, Tensor]) -> Outputs:
    """Run a model on a batch, with its head only where that judges whole texts."""
    body: Any = model.base_model
    if not judges_texts(model):
        return Outputs(body(**batch, output_hidden_states=True), None)
    found = []
    handle = body.register_forward_hook(lambda module, inputs, output: found.append(output))
    try:
        logits = model(**batch, output_hidden_states=True).logits
    finally:
        handle.remove()
    return Outputs(found[0], logits)
