"""Rows of the native core's thresholds -> one table: the value chosen beside others."""

from collections.abc import Iterable

from ultrafastbert.report.tables import group, latest, markdown_table, number
from ultrafastbert.rows import Row

CASE = ("constant", "family", "hidden_size", "n_tokens", "pass", "threads")


def threshold_table(rows: Iterable[Row]) -> str:
    """Return microseconds per token for each value of each constant, the chosen one in bold."""
    thresholds = latest((row for row in rows if row["kind"] == "threshold"), *CASE, "value")
    if not thresholds:
        return ""
    header = ["constant of `csrc/core/blocks.h`", "layer", "tokens", "pass", "value"]
    header += ["µs per token (p10 to p90)", "time over the chosen value's (p10 to p90)"]
    cases = group(thresholds, *CASE).values()
    return markdown_table(header, (_line(row) for case in cases for row in case)) + "\n"


def _line(row: Row) -> list[str]:
    mark = "**" if row["chosen"] else ""
    low, median, high = map(number, row["time_over_chosen"])
    limits = f"{number(row['us_per_token_low'])} to {number(row['us_per_token_high'])}"
    return [
        f"`{row['constant']}`",
        f"{row['family']} of {row['hidden_size']}",
        f"{row['n_tokens']:,}",
        row["pass"],
        f"{mark}{row['value']:,}{mark}",
        f"{mark}{number(row['us_per_token'])}{mark} ({limits})",
        "1" if row["chosen"] else f"{median} ({low} to {high})",
    ]
