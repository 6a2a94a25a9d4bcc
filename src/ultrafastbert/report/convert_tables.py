"""Rows of converted models -> tables: error of every layer, and scores, beside the controls."""

import itertools
from collections.abc import Iterable

from ultrafastbert.report.tables import NONE, group, markdown_table
from ultrafastbert.rows import Row

TITLES = {
    "fff": "fast feedforward",
    "random": "the same with random, fixed routing",
    "ff_active": "dense, as wide as the active neurons",
    "ff_time": "dense, of equal measured time",
    "none": "no feedforward layer (its mean output)",
    "teacher": "the original",
}
SPLITS = ("validation", "test")


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
    errors = {row["layer"]: row["unexplained"] for row in rows}
    line = [_title(rows[0]["model"], rows[0]), str(rows[0]["n_active"])]
    return [*line, *(_percent(errors.get(layer)) for layer in layers)]


def _equal_width_lines(rows: list[Row], layers: list[int]) -> list[list[str]]:
    trees = {row["layer"]: row for row in rows if row["model"] == "fff"}
    widths, multipliers = [], []
    for layer in layers:
        dense = [row for row in rows if row["layer"] == layer and row["ffn"].startswith("ff:")]
        errors = {row["n_active"]: row["unexplained"] for row in dense}
        if len(errors) < 2 or layer not in trees:
            return []
        width, is_bound = equal_width(trees[layer]["unexplained"], errors)
        bound = "> " if is_bound else ""
        widths.append(f"{bound}{width:.0f}")
        multipliers.append(f"{bound}{width / trees[layer]['n_active']:.1f}")
    return [
        ["dense width of the tree's error", "", *widths],
        ["that width over the neurons used", "", *multipliers],
    ]


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
    """Return Spearman's correlations on STS-B, and the share of the gap between no FF and teacher.

    Empty where the rows hold no scores.
    """
    rows = [row for row in rows if row["kind"] == "convert"]
    splits = [split for split in SPLITS if any(f"stsb_{split}_spearman" in row for row in rows)]
    if not splits:
        return ""
    scores = {row["model"]: row for row in rows}
    header = ["model"]
    for split in splits:
        header += [f"STS-B {split} (Spearman, %)", "share of the gap recovered, %"]
    return markdown_table(header, [_model_line(row, scores, splits) for row in rows])


def _model_line(row: Row, scores: dict[str, Row], splits: list[str]) -> list[str]:
    line = [_title(row["model"], row)]
    for split in splits:
        field = f"stsb_{split}_spearman"
        line.append(f"{row[field]:.1f}")
        line.append(_percent(_gap_recovered(row, scores, field)))
    return line


def _gap_recovered(row: Row, scores: dict[str, Row], field: str) -> float | None:
    """Return 0 for a score without FF layers and 1 for the teacher's.

    What a model keeps of the teacher's score says little where no FF layer at all keeps most of it.
    """
    if not {"none", "teacher"} <= scores.keys():
        return None
    floor, ceiling = scores["none"][field], scores["teacher"][field]
    return None if floor == ceiling else (row[field] - floor) / (ceiling - floor)


def _title(name: str, row: Row) -> str:
    other = "dense" if (row["ffn"] or "").startswith("ff:") else TITLES["fff"]
    title = TITLES.get(name, other)
    return f"{title} ({row['ffn']})" if row.get("n_active") else title


def _percent(share: float | None) -> str:
    return NONE if share is None else f"{100 * share:.1f}"
