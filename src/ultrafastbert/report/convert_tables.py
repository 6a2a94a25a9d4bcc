"""Rows of converted models -> tables: error of every layer, and scores, beside the controls."""

from collections.abc import Iterable

from ultrafastbert.report.tables import NONE, markdown_table
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
    """Return the share of each layer's output variance that is left unexplained, in percent."""
    rows = [row for row in rows if row["kind"] == "convert_layer"]
    layers = sorted({row["layer"] for row in rows})
    header = ["in place of the layer", "neurons used", *(f"layer {layer}" for layer in layers)]
    body = []
    for name in (name for name in TITLES if any(row["model"] == name for row in rows)):
        found = {row["layer"]: row for row in rows if row["model"] == name}
        errors = [_percent(found.get(layer, {}).get("unexplained")) for layer in layers]
        body.append([_title(name, found[layers[0]]), str(found[layers[0]]["n_active"]), *errors])
    return markdown_table(header, body)


def convert_table(rows: Iterable[Row]) -> str:
    """Return Spearman's correlations on STS-B, and the share of the gap between no FF and teacher.

    Empty where the rows hold no scores.
    """
    rows = [row for row in rows if row["kind"] == "convert"]
    splits = [split for split in SPLITS if any(f"stsb_{split}_spearman" in row for row in rows)]
    if not splits:
        return ""
    header = ["model"]
    for split in splits:
        header += [f"STS-B {split} (Spearman, %)", "share of the gap recovered, %"]
    return markdown_table(header, [_model_line(row, splits) for row in rows])


def _model_line(row: Row, splits: list[str]) -> list[str]:
    line = [_title(row["model"], row)]
    for split in splits:
        line.append(f"{row[f'stsb_{split}_spearman']:.1f}")
        line.append(_percent(row.get(f"stsb_{split}_gap_recovered")))
    return line


def _title(name: str, row: Row) -> str:
    return f"{TITLES[name]} ({row['ffn']})" if row.get("n_active") else TITLES[name]


def _percent(share: float | None) -> str:
    return NONE if share is None else f"{100 * share:.1f}"
