"""The objective of hidden states, after the last layer and some between, and sentence vectors."""

from collections.abc import Mapping

from torch import Tensor
from torch.nn.functional import cosine_similarity

from ultrafastbert.distill.teacher.outputs import Outputs
from ultrafastbert.distill.teacher.targets import Targets, chosen_states
from ultrafastbert.models.bert.pooling import pool


class HiddenStates:
    """FVU of the last hidden states, mean FVU after layers between, 1 - cosine of sentence vectors.

    A sentence vector is the mean over tokens. All three have weight one.
    """

    def __init__(self, targets: Targets):
        self.layers, self.variance = targets.layers, targets.states_variance  # (N)

    @staticmethod
    def applies(targets: Targets) -> bool:
        """Return True: all targets have hidden states."""
        return True

    def loss(self, output: Outputs, batch: Mapping[str, Tensor]) -> Tensor:
        """Return the loss of a batch."""
        expected, mask = batch["targets"], batch["attention_mask"]  # (B, S, N, H), (B, S)
        states, keep = chosen_states(output.body, self.layers).float(), mask.bool()
        fvu = (states[keep] - expected[keep]).square().mean((0, 2)) / self.variance  # (N)
        found, wanted = (pool(each[:, :, -1], mask, "mean") for each in (states, expected))
        similar = cosine_similarity(found, wanted).mean()
        return fvu[-1] + fvu[:-1].sum() / max(1, len(fvu) - 1) + 1 - similar
