"""Converted models: FVU of every layer, and quality of whole models, beside the controls.

FVU is the fraction of variance unexplained: 0 is perfect, 1 no better than the mean. Rows of
several conversions give one table for each, see `runs`.
"""

import itertools
import statistics
from collections.abc import Iterable
from dataclasses import replace
from typing import NamedTuple, TypeVar

from ultrafastbert.report.cells import NONE, markdown_table, spread
from ultrafastbert.report.grouping import group, latest, of_kind
from ultrafastbert.report.runs import by_run
from ultrafastbert.report.titles import FIT_METRICS, model_title, task_title
from ultrafastbert.rows.conversion import (
    ConvertLayerRow,
    ConvertLayerwiseRow,
    ConvertRow,
    ConvertTaskRow,
    ModelFit,
    WholeModel,
)
from ultrafastbert.rows.row import Column, Row, columns_of

W = TypeVar("W", bound=WholeModel)

# In percentage points: of a smaller gap, what is recovered is chance.
LEAST_GAP = 1.0
SEEDS = "seeds"
TASK_SEEDS = "seeds (of the fine-tuning: the first seed's model)"
SMALL_PERCENTAGE = 10.0
MOST_DECIMALS = 3


def convert_layer_table(rows: Iterable[Row]) -> str:
    """Return the FVU of each layer's outputs, in per cent; empty without rows of layers.

    Where a norm reads the sum of a layer's input and output, the FVU behind it is a table before:
    a few components that the norm takes back may have nearly all of the variance. With dense layers
    of several widths, also how wide one would have to be for the tree's FVU.
    """
    found = latest(
        of_kind(rows, ConvertLayerRow),
        lambda row: (row.run, row.model, row.ffn, row.layer, row.seed),
    )
    return by_run(found, _layer_tables)


def _layer_tables(found: list[ConvertLayerRow]) -> str:
    errors = columns_of(ConvertLayerRow).items()
    return "\n\n".join(filter(None, (_layer_table(found, *each) for each in errors)))


def _layer_table(found: list[ConvertLayerRow], field: str, column: Column) -> str:
    found = [row for row in found if getattr(row, field) is not None]
    if not found:
        return ""
    layers = sorted({row.layer for row in found})
    header = [column.title, "neurons used", *(f"layer {layer}" for layer in layers), SEEDS]
    models = group(found, lambda row: (row.model, row.ffn)).values()
    body = [_layer_line(same, layers, field, column) for same in models]
    return markdown_table(header, [*body, *_equal_width_lines(found, layers, field)])


def _layer_line(
    rows: list[ConvertLayerRow], layers: list[int], field: str, column: Column
) -> list[str]:
    first = rows[0]
    cells = [
        _percent([column.factor * getattr(row, field) for row in rows if row.layer == layer])
        for layer in layers
    ]
    title = model_title(first.model, first.ffn, first.n_active)
    return [title, str(first.n_active), *cells, str(len({row.seed for row in rows}))]


def _equal_width_lines(
    rows: list[ConvertLayerRow], layers: list[int], field: str
) -> list[list[str]]:
    """Return how wide a dense layer of the tree's FVU is, from means over seeds."""
    widths, multipliers = [], []
    for layer in layers:
        here = [row for row in rows if row.layer == layer]
        trees = [row for row in here if row.model == "fff"]
        dense = group((row for row in here if row.ffn.startswith("ff:")), lambda row: row.n_active)
        errors = {width: _mean(same, field) for width, same in dense.items()}
        if len(errors) < 2 or len({row.ffn for row in trees}) != 1:
            return []
        width, is_bound = equal_width(_mean(trees, field), errors)
        bound = "> " if is_bound else ""
        widths.append(f"{bound}{width:.0f}")
        multipliers.append(f"{bound}{width / trees[0].n_active:.1f}")
    return [
        ["dense width of the tree's FVU", "", *widths, ""],
        ["that width over the neurons used", "", *multipliers, ""],
    ]


def _mean(rows: list[ConvertLayerRow], field: str) -> float:
    return statistics.mean(getattr(row, field) for row in rows)


def equal_width(error: float, errors: dict[int, float]) -> tuple[float, bool]:
    """Return the width of a dense layer with an error, between those of known widths.

    Interpolated in the logarithm of the width. An error below all known ones is that of a layer
    wider than the widest, one above all that of the narrowest at most; the flag says which results
    are such a lower bound.
    """
    widths = sorted(errors)
    for narrow, wide in itertools.pairwise(widths):
        if errors[narrow] >= error >= errors[wide] and errors[narrow] > errors[wide]:
            share = (errors[narrow] - error) / (errors[narrow] - errors[wide])
            return narrow ** (1 - share) * wide**share, False
    if error < errors[widths[-1]]:
        return widths[-1], True
    return widths[0], False


class Measured(NamedTuple):
    """What was measured of one model with one seed: values in per cent, by title."""

    model: str
    ffn: str | None
    n_active: int | None
    seed: int | None
    values: dict[str, float]


def convert_table(rows: Iterable[Row]) -> str:
    """Return how well whole models do: FVU of what they give, and scores on tasks.

    Beside each the gap recovered between no FF layers and the original, in per cent: what a model
    keeps of the original's score says little where no FF layer at all keeps most of it. Where that
    gap is less than a percentage point, what is recovered of it would be chance. All by seed; in
    tables over several seeds, means and standard deviations.
    """
    return _quality_tables(of_kind(rows, ConvertRow))


def layerwise_table(rows: Iterable[Row]) -> str:
    """Return the same of models before they are trained end to end, when layers alone have learned.

    What models that are trained as a whole have in common they owe to their other weights.
    """
    rows = list(rows)
    before = [_without_end_to_end(row) for row in of_kind(rows, ConvertLayerwiseRow)]
    finished = [_without_end_to_end(row) for row in of_kind(rows, ConvertRow)]
    found: list[WholeModel] = list(before)
    for run in group(before, lambda row: row.run):
        found += [row for row in finished if row.model == "teacher" and row.run == run]
    return _quality_tables(found)


def _without_end_to_end(row: W) -> W:
    """Return a row without settings that make no difference before that training."""
    return replace(row, end_to_end_steps=None, end_to_end_tokens=None)


def _quality_tables(found: Iterable[WholeModel]) -> str:
    found = latest(found, lambda row: (row.run, row.model, row.ffn, row.seed))
    return by_run(found, lambda same: _gap_table([_measured(row) for row in same]))


def _measured(row: WholeModel) -> Measured:
    return Measured(row.model, row.ffn, row.n_active, row.seed, quality_of(row))


def quality_of(row: ModelFit) -> dict[str, float]:
    """Return the metrics and scores of a converted model by title, in the unit of the title."""
    values = {}
    for name, value in row.metrics.items():
        title, factor = FIT_METRICS.get(name, (name, 1.0))
        values[title] = factor * value
    scores = {task_title(s.task, s.metric, s.split): s.value for s in row.scores}
    return values | scores


def convert_task_table(rows: Iterable[Row]) -> str:
    """Return the scores of models fine-tuned on GLUE tasks, and gaps recovered as above.

    Only models of a conversion's first seed are fine-tuned: seeds, over which there are means and
    standard deviations here, are those of the fine-tuning.
    """
    return by_run(of_kind(rows, ConvertTaskRow), _task_table)


def _task_table(tasks: list[ConvertTaskRow]) -> str:
    models = group(tasks, lambda row: (row.model, row.ffn, row.seed)).values()
    scores = [
        Measured(
            same[0].model,
            same[0].ffn,
            same[0].n_active,
            same[0].seed,
            {task_title(row.task, row.metric): row.value for row in same},
        )
        for same in models
    ]
    return _gap_table(scores, TASK_SEEDS)


def _gap_table(rows: list[Measured], seeds_title: str = SEEDS) -> str:
    """Return what was measured by model, each beside the gap recovered, and the number of seeds."""
    columns = _columns(rows)
    if not columns:
        return ""
    header = ["model", "neurons used"]
    for title in columns:
        header += [title, "gap recovered, %"]
    models = group(rows, lambda row: (row.model, row.ffn)).values()
    body = [_gap_line(same, rows, columns) for same in models]
    return markdown_table([*header, seeds_title], body)


def _columns(rows: list[Measured]) -> list[str]:
    """Return the titles of all values: metrics in their order, then scores as they come."""
    metrics = [title for title, _ in FIT_METRICS.values()]
    found = dict.fromkeys(title for row in rows for title in row.values)
    scores = [title for title in found if title not in metrics]
    return [title for title in metrics if title in found] + scores


def _gap_line(same: list[Measured], rows: list[Measured], columns: list[str]) -> list[str]:
    first = same[0]
    n_active = NONE if first.n_active is None else str(first.n_active)
    line = [model_title(first.model, first.ffn, first.n_active), n_active]
    for title in columns:
        with_it = [row for row in same if title in row.values]
        gaps = [_gap_recovered(row, rows, title) for row in with_it]
        line.append(_percent([row.values[title] for row in with_it]))
        line.append(_spread([100 * gap for gap in gaps if gap is not None], 0))
    seeds = {row.seed for row in same} - {None}
    return [*line, str(len(seeds)) if seeds else NONE]  # the original as it is has none


def _gap_recovered(row: Measured, rows: list[Measured], title: str) -> float | None:
    """Return 0 for what a model without FF layers reaches with the same seed, 1 for the original.

    None where one of these is not known, or the gap between them is less than the least.
    """
    known = [each for each in rows if title in each.values]
    none = [each for each in known if each.model == "none" and each.seed == row.seed]
    original = [each for each in known if each.model == "teacher" and each.seed in (None, row.seed)]
    if not none or not original or row.model in ("none", "teacher"):
        return None
    worst, best = none[0].values[title], original[0].values[title]
    is_known = abs(best - worst) >= LEAST_GAP
    return (row.values[title] - worst) / (best - worst) if is_known else None


def _percent(values: list[float]) -> str:
    """Return mean and standard deviation of percentages, to about three digits."""
    is_small = bool(values) and abs(statistics.mean(values)) < SMALL_PERCENTAGE
    return _spread(values, 2 if is_small else 1)


def _spread(values: list[float], decimals: int) -> str:
    """Return mean and standard deviation, with more decimals where it would look like none."""
    deviation = statistics.stdev(values) if len(values) > 1 else 0.0
    telling = (n for n in range(decimals, MOST_DECIMALS + 1) if round(deviation, n))
    return spread(values, next(telling, decimals)) if values else NONE
