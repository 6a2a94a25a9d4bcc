"""A dense model with other FF blocks, to be measured: all its other weights are shared with it."""

import copy
from collections.abc import Sequence

from transformers import PreTrainedModel

from ultrafastbert.models.converted.architectures import Block, layers_of, replace_block
from ultrafastbert.models.converted.feedforward import ConvertedBlock


def with_blocks(
    model: PreTrainedModel, place: Block, blocks: Sequence[ConvertedBlock | None]
) -> PreTrainedModel:
    """Return a model with a block at that place of each layer, or the original one for None.

    It takes no memory but its modules'. To save one, see `converted_copy`.
    """
    shared = {id(tensor): tensor for tensor in (*model.parameters(), *model.buffers())}
    variant = copy.deepcopy(model, memo=shared)
    for number, new in zip(range(len(layers_of(variant, place))), blocks, strict=True):
        if new is not None:
            replace_block(variant, place, number, new)
    return variant
