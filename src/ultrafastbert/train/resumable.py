"""Hugging Face's Trainer with checkpoints by time, resumed from the last complete one.

Trainer saves by step or epoch, or on SIGTERM, and `get_last_checkpoint` takes a folder that was cut
off for whole.
"""

import errno
import pickle
import time
from pathlib import Path
from typing import Any

import torch.distributed as dist
from safetensors import SafetensorError
from torch import nn
from transformers import PrinterCallback, Trainer, TrainerCallback

# A checkpoint at least this often, so that an interruption loses less than a minute.
SAVE_SECONDS = 40
# Written into a checkpoint folder when it is whole; a folder without it was cut off.
COMPLETE = "complete"


def last_checkpoint(folder: Path) -> str | None:
    """Return the newest whole checkpoint of a folder, or None."""
    whole = [path.parent for path in folder.glob(f"checkpoint-*/{COMPLETE}")]
    return str(max(whole, key=lambda path: int(path.name.split("-")[1]))) if whole else None


class ResumableTrainer(Trainer):
    """Trainer that saves by time and resumes from its last complete checkpoint.

    Its arguments have `save_strategy="no"`; checkpoints are taken at multiples of `logging_steps`.
    """

    def __init__(self, *args: Any, **options: Any):
        self.has_begun = False
        super().__init__(*args, **options)
        self.remove_callback(PrinterCallback)
        self.add_callback(_Checkpoints(self))

    def train_on(self) -> None:
        """Train from the last whole checkpoint of the output folder, or from the start.

        Raises ValueError for a checkpoint that is damaged, OSError where the disk is full.
        """
        checkpoint = last_checkpoint(Path(str(self.args.output_dir)))
        try:
            self.train(resume_from_checkpoint=checkpoint)
        except (RuntimeError, EOFError, SafetensorError, pickle.UnpicklingError) as error:
            if checkpoint is None or self.has_begun:
                raise
            raise ValueError(
                f"checkpoint {checkpoint} is damaged ({' '.join(str(error).split())}); delete it "
                "to go on from the one before"
            ) from error

    def _save_checkpoint(self, model: nn.Module, trial: Any) -> None:
        try:
            super()._save_checkpoint(model, trial)
        except RuntimeError as error:  # what torch.save makes of a full disk
            if "PytorchStreamWriter" in str(error) or "inline_container" in str(error):
                message = "the checkpoint could not be written; is the disk full?"
                raise OSError(errno.ENOSPC, message, self.args.output_dir) from error
            raise


class _Checkpoints(TrainerCallback):
    """Asks for a checkpoint by time, at a logging step; marks complete ones.

    The main process decides for all, as saving is a joint effort.
    """

    def __init__(self, trainer: ResumableTrainer) -> None:
        self.trainer = trainer
        self.saved_at = time.monotonic()

    def on_train_begin(self, args, state, control, **kwargs) -> None:
        self.trainer.has_begun = True

    def on_step_end(self, args, state, control, **kwargs) -> None:
        if state.global_step % args.logging_steps == 0:
            due = [time.monotonic() - self.saved_at > SAVE_SECONDS]
            if dist.is_initialized():
                dist.broadcast_object_list(due, src=0)
            control.should_save = due[0]

    def on_save(self, args, state, control, **kwargs) -> None:
        if dist.is_initialized():
            dist.barrier()
        if state.is_world_process_zero:
            (Path(args.output_dir) / f"checkpoint-{state.global_step}" / COMPLETE).touch()
        self.saved_at = time.monotonic()
