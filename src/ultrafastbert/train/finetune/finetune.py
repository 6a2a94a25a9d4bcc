"""Fine-tuning of an encoder on labelled sentences: one result row for each task and seed."""

import dataclasses
import hashlib
import json
import math
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
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

from ultrafastbert.evaluate.task_data import check_dataset, data_digest, load_task
from ultrafastbert.evaluate.tasks import TASKS, TaskSpec, get_task, score
from ultrafastbert.fff.layer import bf16_supported
from ultrafastbert.models.io.loading import load_saved
from ultrafastbert.models.io.saved import load_padding_tokenizer, model_digest
from ultrafastbert.rows import append_row, read_rows
from ultrafastbert.rows.training import GlueRow
from ultrafastbert.runs.locks import locked
from ultrafastbert.runs.outputs import check_file, make_folder, real
from ultrafastbert.train.finetune.config import GlueConfig
from ultrafastbert.train.finetune.encoding import EncodedRows
from ultrafastbert.train.finetune.trainer import (
    FineTuner,
    OnProgress,
    Progress,
    quiet,
    training_arguments,
)

# What Hugging Face's encoders call the rates of dropout.
_DROPOUTS = (
    "hidden_dropout_prob",
    "attention_probs_dropout_prob",
    "classifier_dropout",
    "dropout",
    "attention_dropout",
    "seq_classif_dropout",
)

Splits = dict[str, datasets.Dataset]


def run_glue(
    model_dir: str | Path,
    tasks: Sequence[str] = (),
    config: GlueConfig | None = None,
    data_dir: str | Path | None = None,
    rows_path: str | Path | None = None,
    on_progress: OnProgress | None = None,
    on_row: Callable[[GlueRow], None] | None = None,
    model_name: str | None = None,
) -> list[GlueRow]:
    """Fine-tune a model on GLUE tasks (all nine by default) and return a row per task and seed.

    Each row is appended to `rows_path` as soon as it is there. Rows that the file has already for
    the same model weights, data, seed and configuration, and `model_name` if given, are taken from
    it, wherever the model lies now. `on_row` gets them all.

    Raises ValueError, before any training, for unknown tasks and for data that is missing or wrong,
    OSError for a file that cannot be written, BlockingIOError where another process makes the same
    row of the same file; otherwise as `fine_tune_on`.
    """
    config = config or GlueConfig()
    if rows_path is not None:
        check_file(rows_path)
    specs = [get_task(task) for task in dict.fromkeys(tasks or TASKS)]
    _check_model_dir(model_dir)
    splits = {spec.name: load_task(spec, data_dir) for spec in specs}
    results = []
    for spec in specs:
        for seed in config.seeds:
            job = _Job(Path(model_dir), spec, splits[spec.name], seed, config, model_name)
            with job.claimed(rows_path):
                row = job.find(rows_path)
                if row is None:
                    row = job.run(on_progress)
                    row = append_row(rows_path, row) if rows_path else row
            if on_row is not None:
                on_row(row)
            results.append(row)
    return results


def fine_tune(
    model_dir: str | Path,
    task: str,
    seed: int = 0,
    config: GlueConfig | None = None,
    data_dir: str | Path | None = None,
    on_progress: OnProgress | None = None,
    model_name: str | None = None,
) -> GlueRow:
    """Fine-tune the model of a folder on one GLUE task with one seed, and return its row.

    Data as in `load_task`; errors as in `load_task` and `fine_tune_on`.
    """
    spec = get_task(task)
    _check_model_dir(model_dir)
    splits = load_task(spec, data_dir)
    config = config or GlueConfig()
    return _Job(Path(model_dir), spec, splits, seed, config, model_name).run(on_progress)


def fine_tune_on(
    model_dir: str | Path,
    spec: TaskSpec,
    train: datasets.Dataset,
    validation: datasets.Dataset,
    seed: int = 0,
    config: GlueConfig | None = None,
    on_progress: OnProgress | None = None,
    model_name: str | None = None,
) -> GlueRow:
    """Fine-tune the model of a folder on labelled rows of one's own, and return its result row.

    The data sets need the task's text columns and `label`: class numbers, or real numbers.
    `model_dir` may hold any Hugging Face encoder with its tokenizer.

    Raises ValueError for data that does not fit the task, FileNotFoundError if `model_dir` has no
    model, FloatingPointError if the loss is not a number.
    """
    _check_model_dir(model_dir)
    splits = {"train": train, "validation": validation}
    for split, dataset in splits.items():
        check_dataset(dataset, spec, f"{spec.name} {split}")
    config = config or GlueConfig()
    return _Job(Path(model_dir), spec, splits, seed, config, model_name).run(on_progress)


class _Job:
    """One model, task and seed: its identity among rows, and how it is done."""

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
        # Content decides, not where a model lies.
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


def _check_model_dir(model_dir: str | Path) -> None:
    if not (Path(model_dir) / "config.json").is_file():
        raise FileNotFoundError(f"no model in {model_dir}: it has no config.json")


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
    return load_saved(
        AutoModelForSequenceClassification,
        model_dir,
        new_head=True,
        config=config,
        dtype=torch.float32,
    )


def _max_length(config: GlueConfig, model_config: PreTrainedConfig) -> int:
    longest = getattr(model_config, "max_position_embeddings", config.max_seq_length)
    return min(config.max_seq_length, longest)
