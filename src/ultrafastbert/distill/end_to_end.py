"""End-to-end distillation: a converted model learns the outputs of the original on whole texts."""

import math
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.optim.lr_scheduler import LambdaLR
from torch.utils.data import DataLoader
from transformers import PreTrainedConfig, PreTrainedModel, TrainerCallback, TrainingArguments

from ultrafastbert.distill.objectives import objectives_for
from ultrafastbert.distill.schedule import learning_rate_share
from ultrafastbert.distill.teacher.distance import distance
from ultrafastbert.distill.teacher.outputs import outputs_of
from ultrafastbert.distill.teacher.targets import EXPECTED, Targets
from ultrafastbert.fff.dense import FeedForward
from ultrafastbert.models.converted.feedforward import ConvertedFeedForward
from ultrafastbert.models.precision import autocast_of
from ultrafastbert.runs.status import Count, count_nothing
from ultrafastbert.train.resumable import ResumableTrainer

LOGGING_STEPS = 20
# The rates were chosen on a model of so many layers times its size; larger ones want smaller ones.
REFERENCE_SIZE = 6 * 384
# So many points the held-out curve has after its first, each measured on so many tokens.
CURVE_POINTS = 10
CURVE_TOKENS = 8192
MEASURED = "eval_"  # begins the names of what Trainer logs then


@dataclass(frozen=True)
class EndToEndConfig:
    """How a whole model is trained.

    Attributes:
        steps: training steps; 0 leaves the model as it is.
        batch_tokens: tokens of a batch, with padding.
        fff_learning_rate: at the peak, of trees and lone biases; see `size_share`. At 1e-3 trees
            lose at first what they learned alone.
        dense_learning_rate: the same of dense FF layers: of 2e-4 and 1e-3 the better one.
        learning_rate: at the peak, of all other weights but the embeddings, which stay.
        seed: of the order of the texts.
    """

    steps: int = 2000
    batch_tokens: int = 1536
    fff_learning_rate: float = 4e-4
    dense_learning_rate: float = 1e-3
    learning_rate: float = 6e-4
    seed: int = 0


# A model that learned end to end before loses it again at the rates above.
GOING_ON = {"fff_learning_rate": 3e-4, "dense_learning_rate": 3e-4, "learning_rate": 1e-4}


def size_share(config: PreTrainedConfig) -> float:
    """Return what share of the rates a model learns at: smaller ones the larger it is.

    One up to 6 layers of 384, then in inverse proportion to layers times size.
    """
    return min(1.0, REFERENCE_SIZE / (config.num_hidden_layers * config.hidden_size))


def distill_end_to_end(
    student: PreTrainedModel,
    targets: Targets,
    config: EndToEndConfig,
    folder: Path,
    on_step: Count = count_nothing,
    held_out: Targets | None = None,
) -> dict[int, dict[str, float]]:
    """Train a converted model, in place, on the original's outputs.

    The loss is the sum of all `objectives` that apply. Word embeddings stay, and so do hyperplanes,
    which have no gradient of their own. Dropout is off, as it was when the targets were made.
    Checkpoints are kept in `folder`; a run that was cut off goes on from the last one with the same
    numbers.

    Returns the `distance` on a part of `held_out`, by step from 0 on; empty without `held_out`.
    """
    if not config.steps:
        return {}
    curve = {0: distance(student, held_out, CURVE_TOKENS)} if held_out else {}
    attention = student.config._attn_implementation
    student.set_attn_implementation("eager")  # the fused one's gradient is slow on short texts
    student.get_input_embeddings().requires_grad_(False)
    trainer = EndToEndTrainer(student, targets, config, folder, on_step, held_out)
    trainer.train_on()
    student.requires_grad_(True)
    student.set_attn_implementation(attention)
    return curve | trainer.curve


class EndToEndTrainer(ResumableTrainer):
    """Trainer on a teacher's targets, with rates of their own for new and for old weights."""

    def __init__(
        self,
        student: PreTrainedModel,
        targets: Targets,
        config: EndToEndConfig,
        folder: Path,
        on_step: Count,
        held_out: Targets | None = None,
    ):
        self.targets, self.config, self.held_out = targets, config, held_out
        self.objectives = objectives_for(targets)
        self.feedforwards = [m for m in student.modules() if isinstance(m, ConvertedFeedForward)]
        arguments = _arguments(config, folder, has_curve=held_out is not None)
        super().__init__(student, arguments, train_dataset=targets, eval_dataset=held_out)
        self.add_callback(_Steps(on_step))

    @property
    def curve(self) -> dict[int, dict[str, float]]:
        """The distance measured while training, by step."""
        return {
            int(logged["step"]): {
                name.removeprefix(MEASURED): value
                for name, value in logged.items()
                if name.startswith(MEASURED)
            }
            for logged in self.state.log_history
            if f"{MEASURED}fvu_states" in logged
        }

    def evaluate(self, *args: Any, **options: Any) -> dict[str, float]:
        """Measure the distance on a part of what was held out, and log it."""
        student: Any = self.model
        assert self.held_out is not None
        found = distance(student, self.held_out, CURVE_TOKENS)
        logged = {MEASURED + name: value for name, value in found.items()}
        self.log(logged)
        return logged

    def get_train_dataloader(self) -> DataLoader:
        """Return all batches of the run, in order."""
        config = self.config
        batches = self.targets.batches(config.steps, config.batch_tokens, config.seed)
        model: Any = self.model
        collate = partial(self.targets.batch, pad_token_id=model.config.pad_token_id or 0)
        n_texts = range(len(self.targets.starts) - 1)
        return self.accelerator.prepare(
            DataLoader(n_texts, batch_sampler=batches, collate_fn=collate)  # type: ignore[arg-type]
        )

    def create_optimizer(self, model: nn.Module | None = None) -> torch.optim.Optimizer:
        """Create fused AdamW, without decay."""
        config, trained = self.config, cast(PreTrainedModel, model or self.model)
        share, groups = size_share(trained.config), []
        old = {id(weight): weight for weight in trained.parameters() if weight.requires_grad}
        for feedforward in self.feedforwards:
            is_dense = isinstance(feedforward.inner, FeedForward)
            rate = config.dense_learning_rate if is_dense else config.fff_learning_rate
            weights = [old.pop(id(weight)) for weight in feedforward.parameters()]
            groups.append({"params": weights, "lr": share * rate})
        groups.append({"params": list(old.values()), "lr": share * config.learning_rate})
        self.optimizer = torch.optim.AdamW(groups, betas=(0.9, 0.98), weight_decay=0.0, fused=True)
        return self.optimizer

    def create_scheduler(
        self, num_training_steps: int, optimizer: torch.optim.Optimizer | None = None
    ) -> LambdaLR:
        """Create the schedule of all distillation: a short rise, then a cosine."""
        scheduled = optimizer or self.optimizer
        assert scheduled is not None
        share = partial(learning_rate_share, steps=num_training_steps)
        self.lr_scheduler = LambdaLR(scheduled, share)
        return self.lr_scheduler

    def training_step(self, model: nn.Module, *args: Any, **options: Any) -> Tensor:
        """Compute gradients, without those of hyperplanes."""
        loss = super().training_step(model, *args, **options)
        for feedforward in self.feedforwards:
            feedforward.hold_hyperplanes()
        return loss

    def compute_loss(self, model: nn.Module, inputs: dict[str, Any], *args: Any, **options: Any):
        """Return the loss of a batch of `Targets`."""
        encoder: Any = model.eval()  # without dropout, as the targets were made
        read = {name: values for name, values in inputs.items() if name not in EXPECTED}
        with autocast_of(encoder):
            output = outputs_of(encoder, read)
        return sum(objective.loss(output, inputs) for objective in self.objectives)

    def floating_point_ops(self, inputs: dict[str, Any]) -> int:
        """Return 0: nobody asks, and counting takes time."""
        return 0

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """Stop when the loss is not a number."""
        if not math.isfinite(logs.get("loss", 0.0)):
            raise FloatingPointError(
                f"the loss is not a number at step {self.state.global_step} of end-to-end "
                "distillation; are all weights of the original finite?"
            )
        super().log(logs, start_time)


class _Steps(TrainerCallback):
    """Hands on how many steps are done; has the last point of the curve measured."""

    def __init__(self, on_step: Count):
        self.on_step = on_step

    def on_step_end(self, args, state, control, **kwargs) -> None:
        logged = (entry["loss"] for entry in reversed(state.log_history) if "loss" in entry)
        self.on_step(state.global_step, f"loss {loss:.3f}" if (loss := next(logged, None)) else "")
        if state.global_step == state.max_steps:
            control.should_evaluate = args.eval_strategy != "no"


def _arguments(config: EndToEndConfig, folder: Path, has_curve: bool) -> TrainingArguments:
    return TrainingArguments(
        output_dir=str(folder),
        max_steps=config.steps,
        max_grad_norm=0.0,
        seed=config.seed,
        use_cpu=True,  # where the targets are, and all that is measured
        dataloader_pin_memory=False,
        save_strategy="no",  # by time, see ResumableTrainer
        save_total_limit=1,
        eval_strategy="steps" if has_curve else "no",
        eval_steps=max(1, config.steps // CURVE_POINTS),
        logging_steps=LOGGING_STEPS,
        logging_nan_inf_filter=False,
        disable_tqdm=True,
        report_to="none",
        remove_unused_columns=False,
    )
