"""Masked-language-model pretraining on Hugging Face's Trainer, resumable after a kill."""

import copy
import dataclasses
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.utils.data import DataLoader
from transformers import (
    PreTrainedTokenizerFast,
    TrainerCallback,
    set_seed,
)

from ultrafastbert.data.masking import IGNORED_LABEL, MaskedStream, collate
from ultrafastbert.data.packing import PackedRows
from ultrafastbert.fff.machine import check_memory
from ultrafastbert.imports.extras import require
from ultrafastbert.models import UltraFastBertConfig, UltraFastBertForMaskedLM
from ultrafastbert.rows import append_rows, read_rows
from ultrafastbert.rows.training import PretrainCurveRow, PretrainRow
from ultrafastbert.runs import run_folder
from ultrafastbert.train.pretrain.initial_weights import draw_initial_weights
from ultrafastbert.train.pretrain.recipes import PretrainConfig
from ultrafastbert.train.pretrain.trainer import PretrainTrainer

# Holds the settings of a run.
SETTINGS = "run.json"
# Masks of the validation rows are the same for every run, whatever its seed.
VALIDATION_SEED = 12345


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
    curve) and, while training, `checkpoints/`. With `resume`, a run that was cut off continues from
    its last complete checkpoint, with the same results as an uninterrupted one; a finished run
    returns its row.

    Raises FileExistsError if the folder holds results and `resume` is not set; ValueError if they
    are those of another configuration or of other text, or the budget is less than one step;
    BlockingIOError while another process uses the folder; FloatingPointError if the loss is not a
    number.
    """
    require("accelerate")
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
) -> PretrainTrainer:
    """Return the trainer of a new model."""
    check_training_memory(config.model)
    set_seed(config.seed)
    # A copy, as models note their dtype and class in their configuration.
    model = UltraFastBertForMaskedLM(copy.deepcopy(config.model))
    draw_initial_weights(model, config.seed)
    return PretrainTrainer(config, model, train_rows, tokenizer, checkpoint_dir)


def _finish(
    config: PretrainConfig,
    name: str,
    trainer: PretrainTrainer,
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
        paired=True,
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
