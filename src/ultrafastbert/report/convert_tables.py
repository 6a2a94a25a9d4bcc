"""Rows of converted models -> tables: error of every layer, and scores, beside the controls."""

import itertools
import statistics
from collections.abc import Iterable

from ultrafastbert.report.tables import NONE, group, markdown_table, spread
from ultrafastbert.rows import Row

TITLES = {
    "fff": "fast feedforward",
    "random": "the same with random, fixed routing",
    "ff_active": "dense, as wide as the active neurons",
    "none": "no feedforward layer (its mean output)",
    "teacher": "the original",
}
SPLITS = ("validation", "test")
MEASURES = {
    "unexplained_states": "last hidden states unexplained, %",
    **{f"stsb_{split}_spearman": f"STS-B {split} (Spearman, %)" for split in SPLITS},
}


def convert_layer_table(rows: Iterable[Row]) -> str:
    """Return the share of each layer's output variance that is left unexplained, in percent.

    With dense layers of several widths, also how wide one would have to be for the tree's error.
    Empty without rows of converted layers.
    """
    found = [row for row in rows if row["kind"] == "convert_layer"]
    if not found:
        return ""
    layers = sorted({row["layer"] for row in found})
    header = [
        "variance left unexplained, %, by",
        "neurons used",
        *(f"layer {layer}" for layer in layers),
    ]
    body = [_layer_line(same, layers) for same in group(found, "model").values()]
    return markdown_table(header, [*body, *_equal_width_lines(found, layers)])


def _layer_line(rows: list[Row], layers: list[int]) -> list[str]:
    errors = _mean_by(rows, "layer")
    line = [_title(rows[0]["model"], rows[0]), str(rows[0]["n_active"])]
    return [*line, *(_percent(errors.get(layer)) for layer in layers)]


def _equal_width_lines(rows: list[Row], layers: list[int]) -> list[list[str]]:
    fast = [row for row in rows if row["model"] == "fff"]
    trees = _mean_by(fast, "layer")
    widths, multipliers = [], []
    for layer in layers:
        dense = [row for row in rows if row["layer"] == layer and row["ffn"].startswith("ff:")]
        errors = _mean_by(dense, "n_active")
        if len(errors) < 2 or layer not in trees:
            return []
        width, is_bound = equal_width(trees[layer], errors)
        bound = "> " if is_bound else ""
        widths.append(f"{bound}{width:.0f}")
        multipliers.append(f"{bound}{width / fast[0]['n_active']:.1f}")
    return [
        ["dense width of the tree's error", "", *widths],
        ["that width over the neurons used", "", *multipliers],
    ]


def _mean_by(rows: Iterable[Row], field: str) -> dict[int, float]:
    """Return the mean error over seeds, by a field."""
    groups = group(rows, field)
    return {
        key: statistics.mean(row["unexplained"] for row in same) for (key,), same in groups.items()
    }


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
    """Return how near whole models are to the original: last hidden states, and scores on STS-B.

    Beside each number is the share of the gap between no FF layer and the original. Of several
    seeds, mean and standard deviation. Empty without rows of whole models.
    """
    found = [row for row in rows if row["kind"] == "convert"]
    measures = {
        field: title for field, title in MEASURES.items() if any(field in row for row in found)
    }
    if not measures:
        return ""
    models = {name: same for (name,), same in group(found, "model").items()}
    header = ["model"]
    for title in measures.values():
        header += [title, "share of the gap recovered, %"]
    return markdown_table(header, [_model_line(name, models, measures) for name in models])


def _model_line(name: str, models: dict[str, list[Row]], fields: Iterable[str]) -> list[str]:
    line = [_title(name, models[name][0])]
    for field in fields:
        factor, decimals = (1, 1) if field.startswith("stsb") else (100, 2)
        values = [factor * row[field] for row in models[name] if field in row]
        line.append(spread(values, decimals) if values else NONE)
        line.append(_percent(_gap_recovered(name, models, field)))
    return line


def _gap_recovered(name: str, models: dict[str, list[Row]], field: str) -> float | None:
    """Return 0 for a result without FF layers and 1 for the original's.

    What a model keeps of the original's score says little where no FF layer at all keeps most.
    """
    means = {
        other: statistics.mean(row[field] for row in rows)
        for other, rows in models.items()
        if all(field in row for row in rows)
    }
    if not {name, "none", "teacher"} <= means.keys():
        return None
    floor, ceiling = means["none"], means["teacher"]
    return None if floor == ceiling else (means[name] - floor) / (ceiling - floor)


def _title(name: str, row: Row) -> str:
    title = TITLES.get(name, "dense")
    return f"{title} ({row['ffn']})" if row.get("n_active") else title


def _percent(share: float | None) -> str:
    return NONE if share is None else f"{100 * share:.1f}"
