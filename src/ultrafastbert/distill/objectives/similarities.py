"""The objective of similarities: how near the texts of a batch are to one another.

Retrieval ranks texts by their cosine. Vectors that are all off by the same turn rank as the
original's do, and small errors along the few directions that tell texts apart do not.
"""

from collections.abc import Mapping

import torch
from torch import Tensor
from torch.nn.functional import normalize

from ultrafastbert.distill.teacher.outputs import Outputs
from ultrafastbert.distill.teacher.targets import Targets
from ultrafastbert.models.bert.pooling import pool

# Fewer texts have no variance of similarities to compare with.
LEAST_TEXTS = 3
SMALLEST_VARIANCE = 1e-6


class Similarities:
    """FVU of the cosines between the sentence vectors of a batch.

    A sentence vector is the mean over tokens of the last hidden states.
    """

    def __init__(self, targets: Targets):
        pass

    @staticmethod
    def applies(targets: Targets) -> bool:
        """Return True: all targets have hidden states."""
        return True

    def loss(self, output: Outputs, batch: Mapping[str, Tensor]) -> Tensor:
        """Return the loss of a batch; 0 for fewer than three texts."""
        mask, expected = batch["attention_mask"], batch["targets"][:, :, -1]  # (B, S), (B, S, H)
        found, wanted = (
            _similarities(pool(states, mask, "mean"))
            for states in (output.body.last_hidden_state.float(), expected)
        )
        if len(mask) < LEAST_TEXTS:
            return found.new_zeros(())
        variance = wanted.var(correction=0).clamp(min=SMALLEST_VARIANCE)
        return (found - wanted).square().mean() / variance


def _similarities(vectors: Tensor) -> Tensor:
    """Return the cosine of each pair of different vectors, (B, H) -> (B * (B - 1) / 2)."""
    units = normalize(vectors, dim=-1)
    first, second = torch.triu_indices(len(units), len(units), 1)
    return (units @ units.T)[first, second]
