"""Rows of several conversions, such as a folder of results has: one table for each of them."""

from collections.abc import Callable, Sequence
from typing import TypeVar

from ultrafastbert.report.cells import count
from ultrafastbert.report.grouping import group
from ultrafastbert.rows.conversion import OfConversion, Run

R = TypeVar("R", bound=OfConversion)

# What numbers of a run are called; its names speak for themselves.
TITLES = {
    "tokens": "tokens for the layers",
    "steps": "training steps a layer",
    "batch_tokens": "tokens a step",
    "sequential_steps": "sequential steps",
    "end_to_end_steps": "steps end to end",
    "end_to_end_tokens": "tokens end to end",
}


def by_run(rows: Sequence[R], table: Callable[[list[R]], str]) -> str:
    """Return a table of the rows of one class for each run, with what it is above it.

    A single run whose rows do not describe it needs nothing above it.
    """
    runs = group(rows, lambda row: row.run)
    if len(runs) < 2 and not any(any(key) for key in runs):
        return table(list(rows))
    tables = [(heading(key), table(same)) for key, same in runs.items()]
    return "\n\n".join(f"**{heading}**\n\n{text.strip()}" for heading, text in tables if text)


def heading(run: Run) -> str:
    """Return what a run is."""
    parts = [
        f"{count(value)} {TITLES[name]}" if name in TITLES else value
        for name, value in run._asdict().items()
        if value is not None
    ]
    return ", ".join(parts) or "a run that is not described"
