"""Fine-tuning of one model on one task with one seed, and its result row."""

import dataclasses
import hashlib
import json
import math
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import torch
from transformers import (
    AutoConfig,
    AutoModelForSequenceClassification,
    PreTrainedConfig,
    PreTrainedModel,
    set_seed,
)

from ultrafastbert.evaluate.task_data import data_digest
from ultrafastbert.evaluate.tasks import TaskSpec, score
from ultrafastbert.fff.machine import bf16_supported
from ultrafastbert.models.io.saved import load_complete, load_padding_tokenizer, model_digest
from ultrafastbert.rows import read_rows
from ultrafastbert.rows.training import GlueRow
from ultrafastbert.runs.locks import locked
from ultrafastbert.runs.outputs import make_folder, real
from ultrafastbert.train.finetune.config import GlueConfig
from ultrafastbert.train.finetune.encoding import EncodedRows
from ultrafastbert.train.finetune.trainer import (
    FineTuner,
    OnProgress,
    Progress,
    quiet,
    training_arguments,
)

# Names of dropout rates in Hugging Face's configurations.
_DROPOUTS = (
    "hidden_dropout_prob",
    "attention_probs_dropout_prob",
    "classifier_dropout",
    "dropout",
    "attention_dropout",
    "seq_classif_dropout",
)

Splits = dict[str, datasets.Dataset]


class FineTuneJob:
    """One model, task and seed: its identity among rows, and its run."""

    def __init__(
        self,
        model_dir: Path,
        spec: TaskSpec,
        splits: Splits,
        seed: int,
        config: GlueConfig,
        model_name: str | None,
    ):
        self.model_dir, self.spec, self.seed = model_dir, spec, seed
        self.config = config
        self.epochs = spec.epochs if config.epochs is None else config.epochs
        self.bf16 = bf16_supported() if config.bf16 is None else config.bf16
        self.splits = {**splits, "train": _limit(splits["train"], config.max_train_rows)}
        sizes = [len(split) for split in self.splits.values()]
        options = dataclasses.asdict(config)
        options |= {"epochs": self.epochs, "bf16": self.bf16}
        del options["seeds"]
        self.identity: dict[str, Any] = {
            "model": model_name or model_dir.resolve().name,
            "model_dir": model_dir.resolve().name,
            "model_digest": model_digest(model_dir),
            "data_digest": data_digest(self.splits),
            "task": spec.name,
            "seed": seed,
            "n_train": sizes[0],
            "n_validation": sizes[1],
            **options,
        }
        # Weights identify a model, not its folder.
        names = {"model_dir"} if model_name else {"model", "model_dir"}
        self.wanted = {key: self.identity[key] for key in self.identity if key not in names}

    @contextmanager
    def claimed(self, rows_path: str | Path | None) -> Iterator[None]:
        """Hold this job for a file of rows; BlockingIOError where another process does it."""
        if rows_path is None:
            yield
            return
        path = real(rows_path)
        make_folder(path.parent)
        job = hashlib.sha256(json.dumps(self.wanted, sort_keys=True).encode()).hexdigest()[:16]
        in_use = (
            f"another process fine-tunes the same model on {self.spec.name} (seed {self.seed}) for "
            f"{rows_path}; wait until it ends"
        )
        with locked(path.with_name(f".{path.name}.{job}.lock"), in_use):
            yield

    def find(self, rows_path: str | Path | None) -> GlueRow | None:
        """Return the row of this job that a file holds already, or None."""
        if rows_path is None or not Path(rows_path).exists():
            return None
        found = read_rows(rows_path, GlueRow)
        wanted = self.wanted.items()
        fitting = (row for row in found if all(getattr(row, key) == value for key, value in wanted))
        return next(fitting, None)

    def run(self, on_progress: OnProgress | None = None) -> GlueRow:
        """Train and evaluate; return the result row."""
        with quiet(), tempfile.TemporaryDirectory() as empty_dir:
            self._report(on_progress, "loading")
            set_seed(self.seed)
            tokenizer = load_padding_tokenizer(self.model_dir)
            model = _load_model(self.model_dir, self.spec, self.config.dropout)
            if getattr(model.config, "pad_token_id", None) is None:
                model.config.pad_token_id = tokenizer.pad_token_id
            length = _max_length(self.config, model.config)
            self._report(on_progress, "tokenizing")
            encoded = {
                split: EncodedRows(dataset, self.spec, tokenizer, length)
                for split, dataset in self.splits.items()
            }
            trainer = self._trainer(model, encoded["train"], empty_dir, on_progress)
            started = time.perf_counter()
            trainer.train()
            seconds = time.perf_counter() - started
            trainer.reports.evaluating()
            metrics = self._evaluate(trainer, encoded)
        return GlueRow(
            **self.identity,
            metric=self.spec.metrics[0],
            value=metrics[self.spec.metrics[0]],
            metrics=metrics,
            subset=any(len(d) < self.spec.n_rows.get(s, 0) for s, d in self.splits.items()),
            seconds=seconds,
            train_tokens=encoded["train"].n_tokens * self.epochs,
            n_parameters=model.num_parameters(),
        )

    @property
    def n_steps(self) -> int:
        """Training steps."""
        return -(-len(self.splits["train"]) // self.config.batch_size) * self.epochs

    def _report(self, on_progress: OnProgress | None, stage: str) -> None:
        """Report a stage before the training, if anybody listens."""
        if on_progress is not None:
            task, n_steps = self.spec.name, self.n_steps
            on_progress(Progress(task, self.seed, 0, n_steps, math.nan, math.nan, stage))

    def _trainer(
        self,
        model: PreTrainedModel,
        train: EncodedRows,
        empty_dir: str,
        on_progress: OnProgress | None,
    ) -> FineTuner:
        config = self.config
        arguments = training_arguments(
            empty_dir,
            num_train_epochs=self.epochs,
            learning_rate=config.learning_rate,
            per_device_train_batch_size=config.batch_size,
            warmup_steps=round(config.warmup_ratio * self.n_steps),
            weight_decay=config.weight_decay,
            max_grad_norm=config.max_grad_norm,
            seed=self.seed,
            bf16=self.bf16,
        )
        return FineTuner(model, arguments, train, self.spec.name, on_progress)

    def _evaluate(self, trainer: FineTuner, encoded: dict[str, EncodedRows]) -> dict[str, float]:
        """Return the metrics of the main validation split, and of others with a suffix."""
        metrics: dict[str, float] = {}
        for number, (split, encoded_rows) in enumerate(list(encoded.items())[1:]):
            suffix = split.removeprefix("validation") if number else ""
            scores = score(self.spec, *trainer.predict_rows(encoded_rows))
            metrics |= {name + suffix: value for name, value in scores.items()}
        return metrics


def _limit(dataset: datasets.Dataset, max_rows: int | None) -> datasets.Dataset:
    if max_rows is None or len(dataset) <= max_rows:
        return dataset
    # Sorted files are common, so not the first rows; always the same ones, whatever the seed.
    chosen = np.random.default_rng(0).permutation(len(dataset))[:max_rows]
    return dataset.select(chosen)


def _load_model(model_dir: Path, spec: TaskSpec, dropout: float) -> PreTrainedModel:
    config = AutoConfig.from_pretrained(model_dir)
    config.num_labels = max(1, len(spec.label_names))
    config.problem_type = "regression" if spec.is_regression else "single_label_classification"
    for name in _DROPOUTS:
        if hasattr(config, name):
            setattr(config, name, dropout)
    return load_complete(
        AutoModelForSequenceClassification,
        model_dir,
        new_head=True,
        config=config,
        dtype=torch.float32,
    )


def _max_length(config: GlueConfig, model_config: PreTrainedConfig) -> int:
    longest = getattr(model_config, "max_position_embeddings", config.max_seq_length)
    return min(config.max_seq_length, longest)
