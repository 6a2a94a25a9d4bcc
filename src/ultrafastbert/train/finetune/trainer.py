"""Hugging Face's Trainer with little overhead and no output, for many small steps."""

import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.utils.data import DataLoader, Sampler
from transformers import (
    PreTrainedModel,
    PrinterCallback,
    Trainer,
    TrainerCallback,
    TrainingArguments,
)
from transformers.utils import logging as transformers_logging

from ultrafastbert.train.finetune.encoding import (
    BatchesInOrder,
    EncodedRows,
    LengthGroupedBatches,
    as_it_is,
)

# Of our models' parameters; Trainer itself leaves out norms and biases.
_NO_DECAY = ("b_in", "position_scale")
# Between two reports of progress; reading the loss waits for an accelerator, so only then.
_REPORT_SECONDS = 1.0


@dataclass(frozen=True)
class Progress:
    """Progress of fine-tuning on one task with one seed.

    Attributes:
        stage: loading, tokenizing, training or evaluating.
        step, n_steps: of the training.
        loss: the mean since the report before; NaN before the training.
    """

    task: str
    seed: int
    step: int
    n_steps: int
    loss: float
    seconds_left: float
    stage: str = "training"

    @property
    def note(self) -> str:
        """The loss, in words, if there is one."""
        return "" if math.isnan(self.loss) else f"loss {self.loss:.3f}"


OnProgress = Callable[[Progress], None]


class FineTuner(Trainer):
    """Trainer on batches of similar length, that stops when the loss is not a number."""

    def __init__(
        self,
        model: PreTrainedModel,
        arguments: TrainingArguments,
        train: EncodedRows,
        task: str,
        on_progress: OnProgress | None = None,
    ):
        self.task, self.train_rows = task, train
        super().__init__(model, arguments, data_collator=as_it_is, train_dataset=train)
        self.remove_callback(PrinterCallback)
        self.reports = _Reports(task, on_progress)
        self.add_callback(self.reports)

    def get_train_dataloader(self) -> DataLoader:
        """Return batches of rows of similar length."""
        lengths, size = self.train_rows.lengths, self.args.train_batch_size
        return self._loader(self.train_rows, LengthGroupedBatches(lengths, size, self.args.seed))

    def predict_rows(self, rows: EncodedRows) -> tuple[np.ndarray, np.ndarray]:
        """Return logits (n, classes) and labels (n,), in an order of their own.

        Raises FloatingPointError if the logits are not all finite.
        """
        batches = BatchesInOrder(rows.lengths, self.args.eval_batch_size)
        output = self.evaluation_loop(self._loader(rows, batches), "Prediction", False)
        logits, labels = np.asarray(output.predictions), np.asarray(output.label_ids)
        if not np.isfinite(logits).all():
            raise FloatingPointError(
                f"the model's outputs on task {self.task} (seed {self.args.seed}) are not all "
                "finite; lower learning_rate, or check the model's weights"
            )
        return logits, labels

    def _loader(self, rows: EncodedRows, batches: Sampler[list[int]]) -> DataLoader:
        loader = DataLoader(rows, batch_sampler=batches, collate_fn=as_it_is)
        return self.accelerator.prepare(loader)

    def get_decay_parameter_names(self, model: nn.Module) -> list[str]:
        """Return the parameters that decay: neither norms nor biases nor scales."""
        names = super().get_decay_parameter_names(model)
        return [name for name in names if not name.endswith(_NO_DECAY)]

    def floating_point_ops(self, inputs: dict[str, Any]) -> int:
        """Return 0: counting the parameters at each step takes longer than a small layer."""
        return 0

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """Stop when the loss is not a number."""
        if not math.isfinite(logs.get("loss", 0.0)) or not math.isfinite(logs.get("train_loss", 0)):
            raise FloatingPointError(
                f"the loss of task {self.task} (seed {self.args.seed}) is not a number at step "
                f"{self.state.global_step}; lower learning_rate, or check the model's weights"
            )
        super().log(logs, start_time)


class _Reports(TrainerCallback):
    """Has the loss logged once a second, and hands it on."""

    def __init__(self, task: str, on_progress: OnProgress | None):
        self.task, self.on_progress = task, on_progress
        self.last: Progress | None = None
        self.started = self.reported = time.monotonic()

    def on_train_begin(self, args, state, control, **kwargs) -> None:
        self.started = self.reported = time.monotonic()

    def on_step_end(self, args, state, control, **kwargs) -> None:
        due = time.monotonic() - self.reported > _REPORT_SECONDS
        control.should_log = due or state.global_step == state.max_steps

    def on_log(self, args, state, control, logs=None, **kwargs) -> None:
        self.reported = time.monotonic()
        if self.on_progress is None or "loss" not in (logs or {}):
            return
        step, n_steps = state.global_step, state.max_steps
        seconds_left = (self.reported - self.started) / step * (n_steps - step)
        self.last = Progress(self.task, args.seed, step, n_steps, logs["loss"], seconds_left)
        self.on_progress(self.last)

    def evaluating(self) -> None:
        """Report that the training is over, and the evaluation has begun."""
        if self.last is not None and self.on_progress is not None:
            self.on_progress(replace(self.last, stage="evaluating"))


@contextmanager
def quiet() -> Iterator[None]:
    """Keep transformers from printing, such as about new heads."""
    verbosity = transformers_logging.get_verbosity()
    has_bars = transformers_logging.is_progress_bar_enabled()
    transformers_logging.set_verbosity_error()
    transformers_logging.disable_progress_bar()
    try:
        yield
    finally:
        transformers_logging.set_verbosity(verbosity)
        if has_bars:
            transformers_logging.enable_progress_bar()


def training_arguments(output_dir: str, **options: Any) -> TrainingArguments:
    """Return arguments of a run that writes and prints nothing."""
    return TrainingArguments(
        output_dir=output_dir,
        optim="adamw_torch_fused",
        lr_scheduler_type="cosine",
        per_device_eval_batch_size=64,
        use_cpu=not torch.cuda.is_available(),
        dataloader_pin_memory=torch.cuda.is_available(),
        eval_strategy="no",
        save_strategy="no",
        logging_strategy="no",  # by time, see _Reports
        logging_nan_inf_filter=False,
        disable_tqdm=True,
        report_to="none",
        remove_unused_columns=False,
        label_names=["labels"],
        **options,
    )
