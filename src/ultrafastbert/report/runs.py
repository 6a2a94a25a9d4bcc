"""Rows of several conversions, such as a folder of results has: one table for each of them."""

from collections.abc import Callable, Hashable, Sequence

from ultrafastbert.report.tables import count, group
from ultrafastbert.rows import Row

# What tells conversions apart: fields of the run, not of what was trained in it. A kind of rows has
# those that concern it; rows without any belong to one run.
RUN = {
    "original": "",
    "run_ffn": "",
    "tokens": "tokens to learn blocks",
    "steps": "updates of a block",
    "batch_tokens": "tokens an update",
    "in_sequence_steps": "updates in sequence",
    "end_to_end_steps": "updates end to end",
    "end_to_end_tokens": "tokens to learn end to end",
}


def by_run(rows: Sequence[Row], table: Callable[[list[Row]], str]) -> str:
    """Return a table of the rows of one kind for each run, with what it is above it.

    A single run whose rows do not describe it needs nothing above it.
    """
    runs = group(rows, *RUN)
    if len(runs) < 2 and not any(any(key) for key in runs):
        return table(list(rows))
    tables = [(heading(key), table(same)) for key, same in runs.items()]
    return "\n\n".join(f"**{heading}**\n\n{text.strip()}" for heading, text in tables if text)


def heading(run: Sequence[Hashable]) -> str:
    """Return what a run is, from the values of `RUN`."""
    parts = [
        f"{count(value)} {title}" if isinstance(value, int) else f"{value}"
        for value, title in zip(run, RUN.values(), strict=True)
        if value is not None
    ]
    return ", ".join(parts) or "a run that is not described"
