"""Thresholds of the native core: one table, the value chosen beside others."""

from collections.abc import Iterable

from ultrafastbert.report.cells import markdown_table, number
from ultrafastbert.report.grouping import group, latest, of_kind
from ultrafastbert.rows.layers import ThresholdRow
from ultrafastbert.rows.row import Row


def threshold_table(rows: Iterable[Row]) -> str:
    """Return microseconds per token for each value of each constant, the chosen one in bold."""
    thresholds = latest(of_kind(rows, ThresholdRow), lambda row: (_case(row), row.value))
    if not thresholds:
        return ""
    header = ["constant of `blocks.h`", "layer", "tokens", "pass", "value"]
    header += ["µs per token (p10 to p90)", "time over the chosen value's (p10 to p90)"]
    cases = group(thresholds, _case).values()
    return markdown_table(header, (_line(row) for case in cases for row in case)) + "\n"


def _case(row: ThresholdRow) -> tuple:
    sizes = (row.family, row.hidden_size, row.n_tokens)
    return (row.constant, *sizes, row.pass_name, row.threads)


def _line(row: ThresholdRow) -> list[str]:
    mark = "**" if row.chosen else ""
    low, median, high = map(number, row.time_over_chosen)
    limits = f"{number(row.us_per_token_low)} to {number(row.us_per_token_high)}"
    return [
        f"`{row.constant}`",
        f"{row.family} of {row.hidden_size}",
        f"{row.n_tokens:,}",
        row.pass_name,
        f"{mark}{row.value:,}{mark}",
        f"{mark}{number(row.us_per_token)}{mark} ({limits})",
        "1" if row.chosen else f"{median} ({low} to {high})",
    ]
