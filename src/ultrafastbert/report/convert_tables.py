"""Rows of converted models -> tables: error of every layer, and scores, beside the controls."""

from collections.abc import Iterable

from ultrafastbert.report.tables import NONE, group, markdown_table
from ultrafastbert.rows import Row

TITLES = {
    "fff": "fast feedforward",
    "random": "the same with random, fixed routing",
    "ff_active": "dense, as wide as the active neurons",
    "none": "no feedforward layer (its mean output)",
    "teacher": "the original",
}
SPLITS = ("validation", "test")


def convert_layer_table(rows: Iterable[Row]) -> str:
    """Return the share of each layer's output variance that is left unexplained, in percent.

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
    models = group(found, "model")
    return markdown_table(header, [_layer_line(models[name,], layers) for (name,) in models])


def _layer_line(rows: list[Row], layers: list[int]) -> list[str]:
    errors = {row["layer"]: row["unexplained"] for row in rows}
    line = [_title(rows[0]["model"], rows[0]), str(rows[0]["n_active"])]
    return [*line, *(_percent(errors.get(layer)) for layer in layers)]


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
    return f"{TITLES[name]} ({row['ffn']})" if row.get("n_active") else TITLES[name]


def _percent(share: float | None) -> str:
    return NONE if share is None else f"{100 * share:.1f}"
