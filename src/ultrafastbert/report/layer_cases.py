"""Timed layers by case, and the fastest of a case."""

from collections.abc import Iterable
from typing import NamedTuple

from ultrafastbert.report.grouping import latest, of_kind
from ultrafastbert.rows.layers import LayerRow, LayerTime
from ultrafastbert.rows.row import Row


class Setting(NamedTuple):
    """What is timed how, for several numbers of tokens."""

    family: str
    hidden_size: int
    pass_name: str
    cache: str
    threads: int


def setting(row: LayerTime) -> Setting:
    """Return the setting of a row."""
    return Setting(row.family, row.hidden_size, row.pass_name, row.cache, row.threads)


def n_tokens(row: LayerTime) -> int:
    """Return the tokens of a call, which tell the cases of a setting apart."""
    return row.n_tokens


def timed(rows: Iterable[Row], kind: type[LayerTime] = LayerRow) -> list[LayerTime]:
    """Return the times of a layer benchmark, each measurement once."""
    return latest(of_kind(rows, kind), lambda row: (setting(row), row.n_tokens, row.name))


def fresh(rows: Iterable[LayerTime]) -> list[LayerTime]:
    """Return the times with rotating inputs, the usual state of the caches."""
    return [row for row in rows if row.cache == "fresh"]


def forward_alone(rows: Iterable[LayerTime]) -> list[LayerTime]:
    """Return the times of the forward pass with rotating inputs, on one thread."""
    return [row for row in fresh(rows) if row.pass_name == "forward" and row.threads == 1]


def most_threads(rows: Iterable[LayerTime]) -> list[LayerTime]:
    """Return the times with the most threads."""
    rows = list(rows)
    most = max((row.threads for row in rows), default=0)
    return [row for row in rows if row.threads == most]


def fastest(case: Iterable[LayerTime], role: str, precision: str | None = None) -> LayerTime | None:
    """Return the fastest row of a role, in one precision or in any."""
    fitting = [row for row in case if row.role == role and precision in (None, row.precision)]
    return min(fitting, key=lambda row: row.latency_us, default=None)


def fast_kernel(case: Iterable[LayerTime], narrow: bool = False) -> LayerTime | None:
    """Return the fastest kernel of a case in float32, or in the fastest narrower precision.

    Masking and loops over BLAS routines are baselines and do not count.
    """
    kernels = [row for row in case if not row.implementation.startswith(("masked", "blas"))]
    return fastest([row for row in kernels if (row.precision != "float32") == narrow], "fff")
