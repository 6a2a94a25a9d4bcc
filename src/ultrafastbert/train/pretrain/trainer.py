"""Hugging Face's Trainer with crammedBERT's batch ramp, schedule and parameter groups."""

import math
import time
from pathlib import Path

import torch
from torch import nn
from torch.utils.data import DataLoader
from transformers import PreTrainedTokenizerFast, TrainingArguments

from ultrafastbert.data.masking import MaskedStream, collate
from ultrafastbert.data.packing import PackedRows
from ultrafastbert.models import UltraFastBertForMaskedLM
from ultrafastbert.train.pretrain.plan import RampedBatches, batch_ramp, triangle
from ultrafastbert.train.pretrain.recipes import PretrainConfig
from ultrafastbert.train.resumable import ResumableTrainer

# Points of the recorded loss curve; more for long runs, as checkpoints are taken at its points.
CURVE_POINTS, MOST_LOGGING_STEPS = 100, 20
NO_DECAY = ("norm.weight", "bias", "b_in", "position_scale")


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
