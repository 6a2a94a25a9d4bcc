"""What end-to-end distillation minimises: a sum of objectives, one file each.

A new objective is a file with a class like these and an entry of `OBJECTIVES`. What it needs of the
teacher beyond hidden states and logits of texts is added to `teacher.targets`.
"""

from collections.abc import Mapping
from typing import Protocol

from torch import Tensor

from ultrafastbert.distill.objectives.hidden_states import HiddenStates
from ultrafastbert.distill.objectives.logits import Logits
from ultrafastbert.distill.teacher.outputs import Outputs
from ultrafastbert.distill.teacher.targets import Targets


class Objective(Protocol):
    """A loss on the outputs of a student, made for the targets of one teacher."""

    def __init__(self, targets: Targets): ...

    @staticmethod
    def applies(targets: Targets) -> bool:
        """Return whether the targets have what this objective compares with."""

    def loss(self, output: Outputs, batch: Mapping[str, Tensor]) -> Tensor:
        """Return the loss of a batch of `Targets.batch`, a scalar in float32."""


OBJECTIVES: tuple[type[Objective], ...] = (HiddenStates, Logits)


def objectives_for(targets: Targets) -> list[Objective]:
    """Return all objectives that apply to the targets of a teacher."""
    return [objective(targets) for objective in OBJECTIVES if objective.applies(targets)]
