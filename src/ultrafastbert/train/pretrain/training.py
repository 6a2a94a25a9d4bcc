"""Masked-language-model pretraining on Hugging Face's Trainer, resumable after a kill."""

import copy
import dataclasses
import math
import shutil
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.utils.data import DataLoader
from transformers import (
    PreTrainedTokenizerFast,
    TrainerCallback,
    TrainingArguments,
    set_seed,
)

from ultrafastbert.data.masking import IGNORED_LABEL, MaskedStream, collate
from ultrafastbert.data.packing import PackedRows
from ultrafastbert.fff.layer import check_memory
from ultrafastbert.models import UltraFastBertConfig, UltraFastBertForMaskedLM
from ultrafastbert.rows import append_rows, read_rows
from ultrafastbert.rows.training import PretrainCurveRow, PretrainRow
from ultrafastbert.runs import run_folder
from ultrafastbert.train.pretrain.plan import RampedBatches, batch_ramp, triangle
from ultrafastbert.train.pretrain.recipes import PretrainConfig
from ultrafastbert.train.resumable import ResumableTrainer

# Points of the recorded loss curve; more for long runs, as checkpoints are taken at its points.
CURVE_POINTS, MOST_LOGGING_STEPS = 100, 20
# Holds the settings of a run.
SETTINGS = "run.json"
# Masks of the validation rows are the same for every run, whatever its seed.
VALIDATION_SEED = 12345
NO_DECAY = ("norm.weight", "bias", "b_in", "position_scale")


def pretrain(
    config: PretrainConfig,
    train_rows: PackedRows,
    validation_rows: PackedRows,
    tokenizer: PreTrainedTokenizerFast,
    out_dir: str | Path,
    name: str,
    resume: bool = False,
    callbacks: list[TrainerCallback] | None = None,
) -> PretrainRow:
    """Train a model from scratch, save it in `out_dir`, and return its result row.

    The folder gets the model and tokenizer, `rows.jsonl` (a row of kind `pretrain` and the loss
    curve) and, while training, `checkpoints/`. With `resume`, a run that was cut off goes on from
    its last whole checkpoint with the same numbers as if nothing had happened, and a finished one
    returns its row.

    Raises FileExistsError if the folder holds results and `resume` is not set; ValueError if they
    are those of another configuration or of other text, or the budget is less than one step;
    BlockingIOError while another process uses the folder; FloatingPointError if the loss is not a
    number.
    """
    out_dir = Path(out_dir)
    with run_folder.locked(out_dir):
        run_folder.check(out_dir, SETTINGS, resume)
        settings = {
            "name": name,
            **describe(config),
            "text": train_rows.path.name,
            "validation": validation_rows.path.name,
        }
        if (out_dir / SETTINGS).exists():
            run_folder.claim(out_dir, SETTINGS, settings, resume)
            if row := _finished(out_dir / "rows.jsonl"):
                return row
        trainer = _trainer(config, train_rows, tokenizer, out_dir / "checkpoints")
        # Only now, so that settings which cannot work leave the folder free.
        run_folder.claim(out_dir, SETTINGS, settings, resume)
        for callback in callbacks or []:
            trainer.add_callback(callback)
        trainer.train_on()
        return _finish(config, name, trainer, validation_rows, tokenizer, out_dir)


def _trainer(
    config: PretrainConfig,
    train_rows: PackedRows,
    tokenizer: PreTrainedTokenizerFast,
    checkpoint_dir: Path,
) -> "PretrainTrainer":
    """Return the trainer of a new model."""
    check_training_memory(config.model)
    set_seed(config.seed)
    # A copy, as models note their dtype and class in their configuration.
    model = UltraFastBertForMaskedLM(copy.deepcopy(config.model))
    return PretrainTrainer(config, model, train_rows, tokenizer, checkpoint_dir)


def _finish(
    config: PretrainConfig,
    name: str,
    trainer: "PretrainTrainer",
    validation_rows: PackedRows,
    tokenizer: PreTrainedTokenizerFast,
    out_dir: Path,
) -> PretrainRow:
    """Measure and save a trained model; return its result row."""
    model = trainer.trained
    measured = evaluate(model, validation_rows, tokenizer, config)
    row = _result(config, name, trainer, measured)
    if run_folder.is_main_process():
        model.save_pretrained(out_dir)
        # Pipelines truncate to it.
        tokenizer.model_max_length = config.model.max_position_embeddings
        tokenizer.save_pretrained(out_dir)
        _write_rows(out_dir / "rows.jsonl", row, trainer)
        shutil.rmtree(out_dir / "checkpoints", ignore_errors=True)
    return row


def check_training_memory(model: UltraFastBertConfig) -> None:
    """Raise ValueError where weights, gradients and AdamW's moments exceed the memory."""
    with torch.device("meta"):
        n_parameters = UltraFastBertForMaskedLM(copy.deepcopy(model)).num_parameters()
    check_memory(4 * n_parameters, torch.float32, "cpu", "training this model")


@torch.no_grad()
def evaluate(
    model: UltraFastBertForMaskedLM,
    validation_rows: PackedRows,
    tokenizer: PreTrainedTokenizerFast,
    config: PretrainConfig,
    max_rows: int = 4096,
) -> dict[str, float]:
    """Return the mean loss (nats) and accuracy (share) over masked tokens of validation rows.

    Only these are decoded: the logits of all tokens of a batch would take gigabytes.
    """
    n_rows = min(len(validation_rows), max_rows)
    stream = MaskedStream(
        validation_rows, VALIDATION_SEED, n_rows, tokenizer, config.mlm_probability
    )
    model.eval()
    device = next(model.parameters()).device
    loss, correct, count = 0.0, 0, 0
    for batch in DataLoader(stream, batch_size=config.micro_batch_size, collate_fn=collate):
        batch = {key: value.to(device) for key, value in batch.items()}
        is_masked = batch["labels"] != IGNORED_LABEL
        labels = batch["labels"][is_masked]
        with torch.autocast(device.type, torch.bfloat16, enabled=config.uses_bf16):
            states = model.model(batch["input_ids"]).last_hidden_state
            logits = model.decode(states[is_masked])
        loss += nn.functional.cross_entropy(logits.float(), labels, reduction="sum").item()
        correct += (logits.argmax(-1) == labels).sum().item()
        count += len(labels)
    return {"validation_loss": loss / count, "validation_accuracy": correct / count}


class PretrainTrainer(ResumableTrainer):
    """Trainer with the crammedBERT batch ramp, schedule and parameter groups."""

    def __init__(
        self,
        config: PretrainConfig,
        model: UltraFastBertForMaskedLM,
        train_rows: PackedRows,
        tokenizer: PreTrainedTokenizerFast,
        checkpoint_dir: Path,
    ):
        arguments = _training_arguments(config, checkpoint_dir)
        n_rows = config.budget_tokens // train_rows.seq_length
        accumulation = arguments.gradient_accumulation_steps
        self.parts = accumulation * arguments.world_size
        self.ramp = batch_ramp(
            n_rows, config.first_batch_size, config.batch_size, config.ramp_fraction, self.parts
        )
        if not len(self.ramp):
            raise ValueError(
                f"budget_tokens={config.budget_tokens} is less than one step of {self.parts} rows "
                f"of {train_rows.seq_length} tokens"
            )
        self.config, self.trained = config, model
        self.started = time.perf_counter()
        self.seconds_before: float | None = None
        self.tokens_per_row = train_rows.seq_length
        arguments.logging_steps = max(1, min(len(self.ramp) // CURVE_POINTS, MOST_LOGGING_STEPS))
        self.stream = MaskedStream(
            train_rows, config.seed, int(self.ramp.sum()), tokenizer, config.mlm_probability
        )
        super().__init__(model, arguments, data_collator=collate, train_dataset=self.stream)

    def get_train_dataloader(self) -> DataLoader:
        """Return batches of the ramp, dealt to the processes by accelerate."""
        batches = RampedBatches(self.ramp, self.parts)
        loader = DataLoader(self.stream, batch_sampler=batches, collate_fn=collate)
        return self.accelerator.prepare(loader)

    def create_optimizer(self, model: nn.Module | None = None) -> torch.optim.Optimizer:
        """Create fused AdamW; norms, biases and scales do not decay."""
        groups: dict[bool, list[nn.Parameter]] = {True: [], False: []}
        trained = model if model is not None else self.model
        assert isinstance(trained, nn.Module)
        for name, parameter in trained.named_parameters():
            groups[not name.endswith(NO_DECAY)].append(parameter)
        self.optimizer = torch.optim.AdamW(
            [
                {"params": groups[True], "weight_decay": self.config.weight_decay},
                {"params": groups[False], "weight_decay": 0.0},
            ],
            lr=self.config.learning_rate,
            betas=(self.config.adam_beta1, self.config.adam_beta2),
            eps=self.config.adam_epsilon,
            fused=True,
        )
        return self.optimizer

    def create_scheduler(
        self, num_training_steps: int, optimizer: torch.optim.Optimizer | None = None
    ) -> torch.optim.lr_scheduler.LRScheduler:
        """Create the triangular schedule over the budget."""
        scheduled = optimizer or self.optimizer
        assert scheduled is not None
        self.lr_scheduler = torch.optim.lr_scheduler.LambdaLR(
            scheduled, triangle(self.ramp, self.config.peak_fraction)
        )
        return self.lr_scheduler

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """Add the tokens read so far to what is logged; stop when the loss is not a number."""
        if not math.isfinite(logs.get("loss", 0.0)) or not math.isfinite(logs.get("grad_norm", 0)):
            raise FloatingPointError(
                f"the loss or its gradient is not a number at step {self.state.global_step}; "
                "lower learning_rate, or check the weights it started from"
            )
        if self.seconds_before is None:  # of the parts of this run before an interruption
            self.seconds_before = max((e["seconds"] for e in self.state.log_history), default=0.0)
        seen = int(self.ramp[: self.state.global_step].sum()) * self.tokens_per_row
        seconds = self.seconds_before + time.perf_counter() - self.started
        super().log({**logs, "tokens": seen, "seconds": seconds}, start_time)


def _training_arguments(config: PretrainConfig, checkpoint_dir: Path) -> TrainingArguments:
    return TrainingArguments(
        output_dir=str(checkpoint_dir),
        num_train_epochs=1,
        per_device_train_batch_size=config.micro_batch_size,
        gradient_accumulation_steps=-(-config.batch_size // config.micro_batch_size),
        max_grad_norm=config.max_grad_norm,
        seed=config.seed,
        bf16=config.uses_bf16,
        use_cpu=not torch.cuda.is_available(),
        accelerator_config={"even_batches": False},
        dataloader_pin_memory=torch.cuda.is_available(),
        save_strategy="no",  # by time, see ResumableTrainer
        save_total_limit=2,
        logging_nan_inf_filter=False,
        disable_tqdm=True,
        report_to="none",
        remove_unused_columns=False,
    )


def _finished(path: Path) -> PretrainRow | None:
    done = read_rows(path, PretrainRow) if path.exists() else []
    return done[-1] if done else None


def describe(config: PretrainConfig) -> dict[str, Any]:
    """Return a configuration as plain values, the model's sizes in front."""
    model = config.model.to_diff_dict()
    options = {field.name: getattr(config, field.name) for field in dataclasses.fields(config)}
    return {**options, "model": {k: v for k, v in model.items() if k != "transformers_version"}}


def _result(
    config: PretrainConfig, name: str, trainer: PretrainTrainer, measured: Mapping[str, float]
) -> PretrainRow:
    model = config.model
    tokens = int(trainer.ramp.sum()) * trainer.tokens_per_row
    seconds = trainer.state.log_history[-1]["seconds"]
    return PretrainRow(
        name=name,
        ffn=model.ffn_name,
        n_active=model.n_active,
        n_neurons=model.n_neurons,
        hidden_size=model.hidden_size,
        num_hidden_layers=model.num_hidden_layers,
        n_parameters=trainer.trained.num_parameters(),
        tokens=tokens,
        steps=len(trainer.ramp),
        seed=config.seed,
        seconds=seconds,
        tokens_per_s=tokens / seconds,
        validation_loss=measured["validation_loss"],
        validation_accuracy=measured["validation_accuracy"],
    )


def _write_rows(path: Path, row: PretrainRow, trainer: PretrainTrainer) -> None:
    points = [
        PretrainCurveRow(
            name=row.name,
            seed=row.seed,
            step=int(entry["step"]),
            tokens=int(entry["tokens"]),
            loss=entry["loss"],
            learning_rate=entry["learning_rate"],
        )
        for entry in trainer.state.log_history
        if "loss" in entry
    ]
    append_rows(path, [*points, row])
