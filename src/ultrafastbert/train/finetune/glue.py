"""Fine-tuning of an encoder on GLUE tasks, or on labelled sentences of one's own."""

from collections.abc import Callable, Sequence
from pathlib import Path

import datasets

from ultrafastbert.evaluate.task_data import check_dataset, load_task
from ultrafastbert.evaluate.tasks import TASKS, TaskSpec, get_task
from ultrafastbert.rows import append_row
from ultrafastbert.rows.training import GlueRow
from ultrafastbert.runs.outputs import check_file
from ultrafastbert.train.finetune.config import GlueConfig
from ultrafastbert.train.finetune.job import FineTuneJob
from ultrafastbert.train.finetune.trainer import OnProgress


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

    Each row is appended to `rows_path` as soon as it is done. A row that the file holds already, of
    the same model weights, data, seed and configuration (and `model_name` if given), is returned
    from it, wherever the model lies now. `on_row` is called with every row.

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
            job = FineTuneJob(Path(model_dir), spec, splits[spec.name], seed, config, model_name)
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
    return FineTuneJob(Path(model_dir), spec, splits, seed, config, model_name).run(on_progress)


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

    The data sets need the task's text columns and `label`: class ids, or floats for regression.
    `model_dir` may hold any Hugging Face encoder with its tokenizer.

    Raises ValueError for data that does not fit the task, FileNotFoundError if `model_dir` has no
    model, FloatingPointError if the loss is not a number.
    """
    _check_model_dir(model_dir)
    splits = {"train": train, "validation": validation}
    for split, dataset in splits.items():
        check_dataset(dataset, spec, f"{spec.name} {split}")
    config = config or GlueConfig()
    return FineTuneJob(Path(model_dir), spec, splits, seed, config, model_name).run(on_progress)


def _check_model_dir(model_dir: str | Path) -> None:
    if not (Path(model_dir) / "config.json").is_file():
        raise FileNotFoundError(f"no model in {model_dir}: it has no config.json")
