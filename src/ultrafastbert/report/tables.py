"""Tables of pretraining, of fine-tuning on tasks, and of where rows were measured."""

import statistics
from collections.abc import Iterable
from dataclasses import fields

from ultrafastbert.evaluate.tasks import TASKS
from ultrafastbert.report import published
from ultrafastbert.report.cells import NONE, count, markdown_table, number, spread
from ultrafastbert.report.grouping import group, latest, of_kind
from ultrafastbert.report.model_table import model_table
from ultrafastbert.report.titles import task_title
from ultrafastbert.rows.environment import Environment
from ultrafastbert.rows.row import Row, columns_of
from ultrafastbert.rows.training import GlueRow, PretrainRow

__all__ = [
    "environment_table",
    "glue_table",
    "markdown_table",
    "model_table",
    "pretrain_runs",
    "pretrain_table",
    "task_rows",
    "task_table",
]


def pretrain_runs(rows: Iterable[Row]) -> list[list[PretrainRow]]:
    """Return pretrained models by name and budget; each seed once."""

    def run(row: PretrainRow) -> tuple:
        sizes = (row.hidden_size, row.num_hidden_layers, row.n_parameters)
        return (row.name, row.ffn, *sizes, row.tokens)

    found = latest(of_kind(rows, PretrainRow), lambda row: (run(row), row.seed))
    return list(group(found, run).values())


def pretrain_table(rows: Iterable[Row]) -> str:
    """Return the metrics of pretraining runs; mean and standard deviation over seeds."""
    runs = pretrain_runs(rows)
    if not runs:
        return ""
    header = ["model", "feedforward layer", "active of all neurons", "parameters", "tokens"]
    header += [column.title for column in columns_of(PretrainRow).values()]
    return markdown_table([*header, "tokens/s", "seeds"], map(_pretrain_line, runs)) + "\n"


def _pretrain_line(runs: list[PretrainRow]) -> list[str]:
    first = runs[0]
    return [
        first.name,
        first.ffn,
        f"{first.n_active:,} of {first.n_neurons:,}",
        count(first.n_parameters),
        count(first.tokens),
        *(
            spread([column.factor * getattr(row, name) for row in runs], column.decimals)
            for name, column in columns_of(PretrainRow).items()
        ),
        number(statistics.mean(row.tokens_per_s for row in runs)),
        ", ".join(str(seed) for seed in sorted(row.seed for row in runs)),
    ]


def task_rows(rows: Iterable[Row], is_glue: bool) -> list[GlueRow]:
    """Return the results on GLUE tasks, or on all other tasks; each model and seed once."""
    found = [row for row in of_kind(rows, GlueRow) if (row.task in TASKS) == is_glue]
    return latest(found, lambda row: (row.model, row.task, row.seed))


def glue_table(rows: Iterable[Row], with_published: bool = True) -> str:
    """Return GLUE results by model and task, published ones beside them.

    Mean and standard deviation over seeds, in per cent; `*` marks tasks where the model saw, or was
    measured on, a part of the rows only. The average is over the tasks shown.
    """
    found = task_rows(rows, is_glue=True)
    if not found:
        return ""
    known = {row.task for row in found}
    order = dict.fromkeys((*published.GLUE_TASKS, *TASKS))  # as published, then the others
    tasks = [task for task in order if task in known]
    body = list(_task_lines(found, tasks))
    if with_published:
        body += [_published_line(model, tasks) for model in published.GLUE]
    note = "\\* a part of the rows only. " if any(row.subset for row in found) else ""
    source = published.GLUE_SOURCE if with_published else ""
    table = markdown_table(_task_header(found, tasks), body)
    return f"{table}\n\n{note}{source}".strip() + "\n"


def task_table(rows: Iterable[Row]) -> str:
    """Return results on tasks other than GLUE's, by model and task; spread over seeds."""
    found = task_rows(rows, is_glue=False)
    if not found:
        return ""
    tasks = list(dict.fromkeys(row.task for row in found))
    return markdown_table(_task_header(found, tasks), _task_lines(found, tasks)) + "\n"


def _task_header(found: list[GlueRow], tasks: list[str]) -> list[str]:
    metrics = {row.task: row.metric for row in reversed(found)}
    return ["model", *(task_title(task, metrics[task]) for task in tasks), "average", "seeds"]


def _task_lines(found: list[GlueRow], tasks: list[str]) -> Iterable[list[str]]:
    for model, same in group(found, lambda row: row.model).items():
        yield _task_line(model, same, tasks)


def _task_line(model: str, found: list[GlueRow], tasks: list[str]) -> list[str]:
    cells, means = [], []
    for task in tasks:
        same = [row for row in found if row.task == task]
        if not same:
            cells.append(NONE)
            continue
        mark = "\\*" if any(row.subset for row in same) else ""
        cells.append(spread([row.value for row in same], 1) + mark)
        means.append(statistics.mean(row.value for row in same))
    seeds = sorted({row.seed for row in found})
    return [model, *cells, _average(means, tasks), ", ".join(map(str, seeds))]


def _published_line(model: str, tasks: list[str]) -> list[str]:
    values = [published.GLUE[model][task] for task in tasks if task in published.GLUE[model]]
    cells = [str(published.GLUE[model].get(task, NONE)) for task in tasks]
    return [f"{model} (published)", *cells, _average(values, tasks), NONE]


def _average(values: list[float], tasks: list[str]) -> str:
    return f"{statistics.mean(values):.1f}" if len(values) == len(tasks) else NONE


def environment_table(rows: Iterable[Row]) -> str:
    """Return the machines and versions that the rows come from, and how many rows each."""
    names = [field.name for field in fields(Environment) if field.name != "threads"]

    def versions(row: Row) -> tuple[str | None, ...]:
        return tuple(getattr(row.environment, name, None) for name in names)

    environments = group(rows, versions)
    body = [
        [*(value or NONE for value in key), str(len(same))] for key, same in environments.items()
    ]
    return markdown_table(["processor", *names[1:], "rows"], body) + "\n"
