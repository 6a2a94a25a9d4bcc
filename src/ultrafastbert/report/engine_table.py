"""Whole models in several engines: one table, a line for each engine and precision."""

from collections.abc import Iterable

from ultrafastbert.report.cells import NONE, markdown_table, number, times
from ultrafastbert.report.grouping import group
from ultrafastbert.report.model_table import model_cases
from ultrafastbert.rows.models import ModelRow
from ultrafastbert.rows.row import Row

ENGINES = ("ONNX Runtime", "OpenVINO")
COLUMNS = {"fff": "fast feedforward", "ff": "dense", "ff_active": "dense, active width"}


def engine_table(rows: Iterable[Row]) -> str:
    """Return milliseconds in PyTorch and in other engines, for cases timed in both."""
    parts = []
    for case, found in model_cases(rows).items():
        if not any(row.implementation in ENGINES for row in found):
            continue
        parts.append(
            f"{case.model} with {case.family}, batch {case.batch} of {case.sequence} tokens, "
            f"threads: {case.threads}; milliseconds\n"
        )
        header = ["engine", "precision", *COLUMNS.values(), "none", "fast x dense, same engine"]
        ways = group(found, lambda row: (row.implementation, row.precision)).values()
        # Masking has no dense twin.
        parts.append(markdown_table(header, (_line(same) for same in ways if same[1:])) + "\n")
    return "\n".join(parts)


def _line(same: list[ModelRow]) -> list[str]:
    by_variant = {row.variant: row for row in same}
    cells = [
        number(by_variant[variant].latency_ms) if variant in by_variant else NONE
        for variant in (*COLUMNS, "none")
    ]
    fast, dense = by_variant.get("fff"), by_variant.get("ff")
    ratio = times(fast.speedup_over.get(dense.name)) if fast and dense else NONE
    return [engine_name(same[0].implementation), same[0].precision, *cells, ratio]


def engine_name(implementation: str) -> str:
    """Return the title of a way to compute a model: an engine, or what PyTorch has of its own."""
    return implementation if implementation in ENGINES else f"PyTorch, {implementation}"
