"""Numbers, cells and tables in Markdown."""

import math
import statistics
from collections.abc import Iterable, Sequence

NONE = "-"


def number(value: float, digits: int = 3) -> str:
    """Return a number with so many significant digits, without exponent, thousands separated."""
    if value == 0 or not math.isfinite(value):
        return f"{value:g}"
    decimals = max(0, digits - 1 - math.floor(math.log10(abs(value))))
    return f"{value:,.{decimals}f}"


def count(value: float) -> str:
    """Return a large count as in 12.3M or 6M."""
    for unit, name in ((1e9, "B"), (1e6, "M"), (1e3, "k")):
        if value >= unit:
            return f"{float(f'{value / unit:.3g}'):,g}{name}"
    return f"{value:.0f}"


def times(ratio: Sequence[float] | None) -> str:
    """Return the median of (low, median, high) as in 12.3x."""
    return f"{number(ratio[1], 2)}x" if ratio else NONE


def spread(values: Sequence[float], decimals: int) -> str:
    """Return the mean, and with several values the sample standard deviation."""
    text = f"{statistics.mean(values):.{decimals}f}"
    return f"{text} ± {statistics.stdev(values):.{decimals}f}" if len(values) > 1 else text


def markdown_table(header: Sequence[str], body: Iterable[Sequence[str]]) -> str:
    """Return a Markdown table; the first column to the left, the others to the right."""
    lines = [header, ["---", *["---:"] * (len(header) - 1)], *body]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def join(*parts: str) -> str:
    """Return texts one below the other, without those that are empty."""
    return "\n\n".join(part.strip() for part in parts if part.strip())
