"""Rows of whole models in several engines -> one table, a line for each way to compute them."""

from collections.abc import Iterable

from ultrafastbert.report.tables import NONE, group, markdown_table, model_cases, number, times
from ultrafastbert.rows import Row

ENGINES = ("ONNX Runtime", "OpenVINO")
COLUMNS = {"fff": "fast feedforward", "ff": "dense", "ff_active": "dense, active width"}


def engine_table(rows: Iterable[Row]) -> str:
    """Return milliseconds in PyTorch and in other engines, for cases timed in both."""
    parts = []
    for key, case in model_cases(rows).items():
        if not any(row["implementation"] in ENGINES for row in case):
            continue
        family, hidden, layers, _, batch, sequence, threads = key
        parts.append(
            f"{layers} layers of {hidden} with {family}, batch {batch} of {sequence} tokens, "
            f"threads: {threads}; milliseconds\n"
        )
        header = ["engine", "precision", *COLUMNS.values(), "none", "fast x dense, same engine"]
        # Masking has no dense twin.
        ways = [same for same in group(case, "implementation", "precision").values() if same[1:]]
        parts.append(markdown_table(header, map(_line, ways)) + "\n")
    return "\n".join(parts)


def _line(same: list[Row]) -> list[str]:
    by_variant = {row["variant"]: row for row in same}
    cells = [
        number(by_variant[variant]["latency_ms"]) if variant in by_variant else NONE
        for variant in (*COLUMNS, "none")
    ]
    fast, dense = by_variant.get("fff"), by_variant.get("ff")
    ratio = times(fast["speedup_over"].get(dense["contestant"])) if fast and dense else NONE
    return [engine_name(same[0]["implementation"]), same[0]["precision"], *cells, ratio]


def engine_name(implementation: str) -> str:
    """Return the title of a way to compute a model: an engine, or what PyTorch has of its own."""
    return implementation if implementation in ENGINES else f"PyTorch, {implementation}"
