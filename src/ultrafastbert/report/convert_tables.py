"""Rows of converted models -> tables: error of every layer, and scores, beside the controls.

Rows of several conversions give one table for each, see `runs`.
"""

import itertools
import statistics
from collections.abc import Iterable

from ultrafastbert.evaluate.metrics import Needs, metrics_for
from ultrafastbert.evaluate.pair_tasks import score_titles
from ultrafastbert.report.runs import RUN, by_run
from ultrafastbert.report.tables import NONE, group, latest, markdown_table, spread, task_title
from ultrafastbert.rows import Row

TITLES = {
    "fff": "fast feedforward",
    "random": "the same with random, fixed routing",
    "fff_held": "the same with fixed principal splits",
    "fff_random_start": "the same with routing learned from random splits",
    "ff_active": "dense, as wide as the active neurons",
    "ff_time": "dense, of equal time as a single layer",
    "none": "no feedforward layer (its mean output)",
    "teacher": "the original",
}
# The first is what blocks learn where there is such a norm: in their own outputs, a few components
# that it takes back may have nearly all of the variance.
ERRORS = {
    "unexplained_after_norm": "variance left unexplained behind the layer's norm, %, by",
    "unexplained": "variance left unexplained, %, by",
}
# In percentage points: of a smaller gap, shares are those of chance.
LEAST_GAP = 1.0
TASK_SEEDS = "seeds (of the fine-tuning: the first seed's model)"
SMALL_PERCENTAGE = 10.0
MOST_DECIMALS = 3


def convert_layer_table(rows: Iterable[Row]) -> str:
    """Return the share of each layer's output variance that is left unexplained, in percent.

    Where a norm reads the sum of a block's input and output, the same behind it is a table before.
    With dense layers of several widths, also how wide one would have to be for the tree's error.
    Empty without rows of converted layers.
    """
    found = [row for row in rows if row["kind"] == "convert_layer"]
    return by_run(latest(found, *RUN, "model", "ffn", "layer", "seed"), _layer_table)


def _layer_table(found: list[Row]) -> str:
    return "\n\n".join(filter(None, (_error_table(found, error) for error in ERRORS)))


def _error_table(found: list[Row], error: str) -> str:
    found = [row for row in found if error in row]
    if not found:
        return ""
    layers = sorted({row["layer"] for row in found})
    header = [
        ERRORS[error],
        "neurons used",
        *(f"layer {layer}" for layer in layers),
        "seeds",
    ]
    body = [_layer_line(same, layers, error) for same in group(found, "model", "ffn").values()]
    return markdown_table(header, [*body, *_equal_width_lines(found, layers, error)])


def _layer_line(rows: list[Row], layers: list[int], error: str) -> list[str]:
    line = [model_title(rows[0]), str(rows[0]["n_active"])]
    return [
        *line,
        *(_percent([100 * r[error] for r in rows if r["layer"] == layer]) for layer in layers),
        _n_seeds(rows),
    ]


def _equal_width_lines(rows: list[Row], layers: list[int], error: str) -> list[list[str]]:
    """Return how wide a dense layer of the tree's error is, from mean errors over seeds."""
    widths, multipliers = [], []
    for layer in layers:
        here = [row for row in rows if row["layer"] == layer]
        trees = [row for row in here if row["model"] == "fff"]
        dense = group((row for row in here if row["ffn"].startswith("ff:")), "n_active")
        errors = {width: _mean(same, error) for (width,), same in dense.items()}
        if len(errors) < 2 or len({row["ffn"] for row in trees}) != 1:
            return []
        width, is_bound = equal_width(_mean(trees, error), errors)
        bound = "> " if is_bound else ""
        widths.append(f"{bound}{width:.0f}")
        multipliers.append(f"{bound}{width / trees[0]['n_active']:.1f}")
    return [
        ["dense width of the tree's error", "", *widths, ""],
        ["that width over the neurons used", "", *multipliers, ""],
    ]


def _mean(rows: list[Row], error: str) -> float:
    return statistics.mean(row[error] for row in rows)


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


def convert_table(rows: Iterable[Row]) -> str:
    """Return how well whole models do: error of the last hidden states, and STS-B.

    Beside each score the share of the gap between no FF and teacher that a model recovers: what it
    keeps of the teacher's score says little where no FF layer at all keeps most of it. Where that
    keeps all but a point, there is no share. Means over seeds, with the standard deviation. Empty
    without rows of whole models.
    """
    return _quality_table([row for row in rows if row["kind"] == "convert"])


def layerwise_table(rows: Iterable[Row]) -> str:
    """Return the same of models before they are trained end to end, when blocks alone have learned.

    What models that are trained as a whole have in common they owe to their other weights.
    """
    rows = [_without_end_to_end(row) for row in rows]
    before = [row for row in rows if row["kind"] == "convert_layerwise"]
    originals = [row for row in rows if row["kind"] == "convert" and row["model"] == "teacher"]
    for run in group(before, *RUN):
        before += group(originals, *RUN).get(run, [])
    return _quality_table(before)


def _without_end_to_end(row: Row) -> Row:
    """Return a row without settings that make no difference before that training."""
    return {field: value for field, value in row.items() if not field.startswith("end_to_end_")}


def _quality_table(found: list[Row]) -> str:
    nearness = metrics_for(Needs.STATES, Needs.LOGITS, Needs.CLASS_LOGITS)
    columns = {name: (metric.heading, metric.factor) for name, metric in nearness.items()}
    columns |= {field: (title, 1.0) for field, title in score_titles().items()}
    found = latest(found, *RUN, "model", "ffn", "seed")
    return by_run(found, lambda same: _gap_table(same, columns))


def convert_task_table(rows: Iterable[Row]) -> str:
    """Return the scores of models fine-tuned on GLUE tasks, and shares of the gap as above.

    Only models of a conversion's first seed are fine-tuned: seeds, over which there are means and
    standard deviations here, are those of the fine-tuning.
    """
    return by_run([row for row in rows if row["kind"] == "convert_task"], _task_table)


def _task_table(tasks: list[Row]) -> str:
    scores = [
        {name: same[0].get(name) for name in ("model", "ffn", "n_active", "seed")}
        | {row["task"]: row["value"] for row in same}
        for same in group(tasks, "model", "ffn", "seed").values()
    ]
    names = dict.fromkeys(row["task"] for row in tasks)
    return _gap_table(scores, {name: (task_title(name, tasks), 1.0) for name in names}, TASK_SEEDS)


def _gap_table(
    rows: list[Row], columns: dict[str, tuple[str, float]], seeds_title: str = "seeds"
) -> str:
    """Return scores by model, each followed by the share of the gap recovered, and their seeds.

    `columns` gives the title of a field, and a factor on its values; fields without values are left
    out.
    """
    columns = {field: rest for field, rest in columns.items() if any(field in r for r in rows)}
    if not columns:
        return ""
    header = ["model", "neurons used"]
    for title, _ in columns.values():
        header += [title, "share of the gap recovered, %"]
    body = []
    for same in group(rows, "model", "ffn").values():
        line = [model_title(same[0]), _n_active(same[0])]
        for field, (_, factor) in columns.items():
            line.append(_percent([factor * row[field] for row in same if field in row]))
            least = LEAST_GAP / factor
            shares = [_gap_recovered(row, rows, field, least) for row in same if field in row]
            known = [100 * share for share in shares if share is not None]
            line.append(_spread(known, 0))
        body.append([*line, _n_seeds(same)])
    return markdown_table([*header, seeds_title], body)


def _n_seeds(rows: list[Row]) -> str:
    """Return how many seeds rows are of; the original as it is has none."""
    seeds = {row["seed"] for row in rows} - {None}
    return str(len(seeds)) if seeds else NONE


def _n_active(row: Row) -> str:
    return NONE if row["n_active"] is None else str(row["n_active"])


def _gap_recovered(row: Row, rows: list[Row], field: str, least_gap: float) -> float | None:
    """Return 0 for what a model without FF layers reaches with the same seed, 1 for the teacher.

    None where one of these is not known, or the gap between them is less than the least.
    """
    known = [r for r in rows if field in r]
    floors = [r for r in known if r["model"] == "none" and r["seed"] == row["seed"]]
    ceilings = [r for r in known if r["model"] == "teacher" and r["seed"] in (None, row["seed"])]
    if not floors or not ceilings or row["model"] in ("none", "teacher"):
        return None
    floor, ceiling = floors[0][field], ceilings[0][field]
    is_known = abs(ceiling - floor) >= least_gap
    return (row[field] - floor) / (ceiling - floor) if is_known else None


def model_title(row: Row) -> str:
    """Return what a row's model is called, with the layer in the place of the FF blocks."""
    other = "dense" if (row["ffn"] or "").startswith("ff:") else TITLES["fff"]
    title = TITLES.get(row["model"], other)
    return f"{title} ({row['ffn']})" if row.get("n_active") else title


def _percent(values: list[float]) -> str:
    """Return mean and standard deviation of percentages, to about three digits."""
    is_small = bool(values) and abs(statistics.mean(values)) < SMALL_PERCENTAGE
    return _spread(values, 2 if is_small else 1)


def _spread(values: list[float], decimals: int) -> str:
    """Return mean and standard deviation, with more decimals where it would look like none."""
    deviation = statistics.stdev(values) if len(values) > 1 else 0.0
    telling = (n for n in range(decimals, MOST_DECIMALS + 1) if round(deviation, n))
    return spread(values, next(telling, decimals)) if values else NONE
