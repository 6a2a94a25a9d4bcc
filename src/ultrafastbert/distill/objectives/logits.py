"""The objective of logits, where a head classifies or rates whole texts."""

from collections.abc import Mapping

from torch import Tensor

from ultrafastbert.distill.teacher.outputs import Outputs
from ultrafastbert.distill.teacher.targets import Targets
from ultrafastbert.evaluate.metrics import logits_variance


class Logits:
    """FVU of the logits of a sequence classifier or regression head."""

    def __init__(self, targets: Targets):
        assert targets.logits is not None
        self.variance = logits_variance(targets.logits)

    @staticmethod
    def applies(targets: Targets) -> bool:
        """Return whether the teacher has such a head."""
        return targets.logits is not None

    def loss(self, output: Outputs, batch: Mapping[str, Tensor]) -> Tensor:
        """Return the loss of a batch."""
        assert output.logits is not None
        return (output.logits.float() - batch["logits"]).square().mean() / self.variance
