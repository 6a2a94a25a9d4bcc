"""The conversion that is shown where there is room for one: that with most models and seeds."""

import statistics
from collections.abc import Iterable, Sequence

from ultrafastbert.report.convert_tables import quality_of
from ultrafastbert.report.grouping import group, latest, of_kind
from ultrafastbert.report.titles import task_title
from ultrafastbert.rows.conversion import ConvertRow
from ultrafastbert.rows.row import Row

# Without these, a number says nothing.
NEEDED = {"fff", "none", "teacher"}


def quality_run(rows: Iterable[Row]) -> list[ConvertRow]:
    """Return the rows of the conversion with the most models and seeds; none without controls."""
    found = latest(of_kind(rows, ConvertRow), lambda row: (row.run, row.model, row.seed))
    runs = group(found, lambda row: row.run).values()
    fitting = [same for same in runs if {row.model for row in same} >= NEEDED]
    return max(fitting, key=len, default=[])


def last_score(rows: Sequence[ConvertRow]) -> str | None:
    """Return the title of the last score that all rows have, such as that on a test split."""
    titles = [
        task_title(score.task, score.metric, score.split) for row in rows for score in row.scores
    ]
    common = [
        title for title in dict.fromkeys(titles) if all(title in quality_of(row) for row in rows)
    ]
    return common[-1] if common else None


def values_of(rows: Iterable[ConvertRow], model: str, title: str) -> list[float]:
    """Return a metric or score of a model, by title, one value a seed."""
    return [quality_of(row)[title] for row in rows if row.model == model]


def mean_of(rows: Iterable[ConvertRow], model: str, title: str) -> float:
    """Return the mean of a metric or score of a model over its seeds."""
    return statistics.mean(values_of(rows, model, title))
