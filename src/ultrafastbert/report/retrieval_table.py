"""Retrieval: a model beside its original and others, task by task."""

from collections.abc import Iterable, Sequence

from ultrafastbert.evaluate.metrics import METRICS, Needs, metrics_for
from ultrafastbert.evaluate.retrieval import RETRIEVAL_TASKS
from ultrafastbert.report.cells import NONE, markdown_table
from ultrafastbert.report.grouping import group, latest, of_kind
from ultrafastbert.report.titles import MODEL_TITLES
from ultrafastbert.rows.retrieval import RetrievalRow
from ultrafastbert.rows.row import Row

DECIMALS = {Needs.RANKS: 1, Needs.COSINES: 3}


def retrieval_table(rows: Iterable[Row]) -> str:
    """Return how often the nearest passage is the right one, and how near vectors are.

    A line for each task, a column for each metric and model; empty without rows of retrieval.
    """
    found = latest(of_kind(rows, RetrievalRow), lambda row: (row.task, row.model))
    models = list(dict.fromkeys(row.model for row in found))
    columns = [
        (name, model)
        for needs in DECIMALS
        for name in metrics_for(needs)
        for model in models
        if any(name in row.metrics for row in found if row.model == model)
    ]
    if not columns:
        return ""
    titles = [f"{METRICS[name].heading}: {MODEL_TITLES.get(m, m)}" for name, m in columns]
    header = ["task", "queries", "passages", *titles]
    return markdown_table(header, [_line(same, columns) for same in _by_task(found)])


def _by_task(found: Sequence[RetrievalRow]) -> list[list[RetrievalRow]]:
    return list(group(found, lambda row: row.task).values())


def _line(same: Sequence[RetrievalRow], columns: Iterable[tuple[str, str]]) -> list[str]:
    first, of_model = same[0], {row.model: row.metrics for row in same}
    title = RETRIEVAL_TASKS[first.task].title if first.task in RETRIEVAL_TASKS else first.task
    cells = [_cell(name, of_model.get(model, {})) for name, model in columns]
    return [title, f"{first.n_queries:,}", f"{first.n_passages:,}", *cells]


def _cell(name: str, metrics: dict[str, float]) -> str:
    return f"{metrics[name]:.{DECIMALS[METRICS[name].needs]}f}" if name in metrics else NONE
