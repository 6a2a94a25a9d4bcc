"""The progress of a pretraining run: tokens read, steps, loss."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from torch.utils.data import DataLoader
from transformers import TrainerCallback

from ultrafastbert.runs.status import Show
from ultrafastbert.train.pretrain.plan import RampedBatches


class TrainingProgress(TrainerCallback):
    """Shows how many tokens of the budget are read, the step and the loss.

    Steps are not counted instead: those of the ramp read ever more tokens, so the time left would
    be far too short at the start.
    """

    def __init__(self, show: Show, name: str):
        self.show, self.name, self.loss = show, name, ""
        self.tokens: Sequence[int] = ()

    def on_train_begin(
        self, args: Any, state: Any, control: Any, train_dataloader: Any = None, **kwargs: Any
    ) -> None:
        """Begin, perhaps where a run was cut off."""
        self.tokens = tokens_after_steps(train_dataloader)
        self._show(state)

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Advance by a step."""
        self._show(state)

    def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **kwargs: Any) -> None:
        """Show the mean loss since it was last logged."""
        if logs and "loss" in logs:
            self.loss = f"loss {logs['loss']:.3f}"
            self._show(state)

    def on_train_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Tell that the model is validated now."""
        self.show(f"validating {self.name}")

    def _show(self, state: Any) -> None:
        note = ", ".join(
            filter(None, [f"step {state.global_step:,}/{state.max_steps:,}", self.loss])
        )
        read = self.tokens[state.global_step]
        self.show(f"pretraining {self.name}", read, self.tokens[-1], note, "tokens")


def tokens_after_steps(loader: DataLoader) -> list[int]:
    """Return the tokens that a pretraining run has read after 0, 1, 2 ... steps."""
    batches: Any = loader.batch_sampler
    while not isinstance(batches, RampedBatches):  # accelerate wraps it for several processes
        batches = batches.batch_sampler
    stream: Any = loader.dataset
    return [0, *(np.cumsum(batches.ramp) * stream.rows.seq_length).tolist()]
