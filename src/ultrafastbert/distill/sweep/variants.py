"""A dense model with other FF layers, to be measured: it shares all other weights."""

import copy
from collections.abc import Sequence

from transformers import PreTrainedModel

from ultrafastbert.models.converted.architectures import (
    FeedForwardLocation,
    layers_of,
    replace_feedforward,
)
from ultrafastbert.models.converted.feedforward import ConvertedFeedForward


def with_feedforwards(
    model: PreTrainedModel,
    location: FeedForwardLocation,
    feedforwards: Sequence[ConvertedFeedForward | None],
) -> PreTrainedModel:
    """Return a model with new FF layers, one for each layer; None keeps the original one.

    It takes no memory but its modules'. To save one, see `converted_copy`.
    """
    shared = {id(tensor): tensor for tensor in (*model.parameters(), *model.buffers())}
    variant = copy.deepcopy(model, memo=shared)
    for layer_id, new in zip(range(len(layers_of(variant, location))), feedforwards, strict=True):
        if new is not None:
            replace_feedforward(variant, location, layer_id, new)
    return variant
