"""Table 2 of arXiv 2311.10770 from measured rows: each way to write a layer beside its twin."""

from collections.abc import Iterable
from typing import NamedTuple

from ultrafastbert.report import published
from ultrafastbert.report.cells import NONE, markdown_table, number, times
from ultrafastbert.report.grouping import group
from ultrafastbert.report.layer_cases import fast_kernel, fastest, forward_alone, timed
from ultrafastbert.report.layer_tables import fraction, over
from ultrafastbert.rows.layers import LayerTime
from ultrafastbert.rows.row import Row

# Ways to write both layers, as in the paper's columns: title, dense and fast implementation.
ROUTINES = (
    ("BLAS level 1", "dense blas1 float32", "fff blas1 float32"),
    ("BLAS level 2", "dense blas2 float32", "fff blas2 float32"),
    ("BLAS level 3", "dense blas3 float32", "fff blas3 float32"),
    (
        "PyTorch (dense eager; FFF by gather and batched products)",
        "dense eager float32",
        "fff gather float32",
    ),
)


class _Line(NamedTuple):
    """A way to write both layers, and what is published of it."""

    what: str
    dense: LayerTime | None
    ours: LayerTime | None
    known: tuple[str, str] | None


def paper_table(rows: Iterable[Row]) -> str:
    """Return table 2 of arXiv 2311.10770 done right: each way to write the layers, on one thread.

    Of each family the case with the most tokens, as the paper has 16,384; empty without BLAS rows.
    """
    parts = []
    groups = group(forward_alone(timed(rows)), lambda row: (row.family, row.hidden_size))
    for same in groups.values():
        most = max(row.n_tokens for row in same)
        case = [row for row in same if row.n_tokens == most]
        if any(row.implementation == "blas1" for row in case) and fast_kernel(case):
            parts.append(_case_table(case))
    return "\n".join(parts)


def _case_table(case: list[LayerTime]) -> str:
    ours = next(row for row in case if row.role == "fff")
    limit = ours.n_neurons / ours.n_active
    is_published = (ours.family, ours.hidden_size) == published.LAYER_SPEED_OF
    title = (
        f"**{ours.family}**, hidden size {ours.hidden_size}, {ours.n_tokens:,} tokens, forward, "
        f"one thread; {ours.n_active} of {ours.n_neurons} neurons, so at most {number(limit, 4)}x "
        "by arithmetic\n"
    )
    header = ["written with", "dense, µs per token", "FFF, µs per token", "x dense so written"]
    header += ["x fastest float32 dense", "x fastest dense", "fraction of roofline"]
    if is_published:
        header += ["published, x dense so written", "published, x dense level 3"]
    body = [_cells(line, case, is_published) for line in _lines(case)]
    note = f"\n{published.LAYER_SPEED_SOURCE}\n" if is_published else ""
    return f"{title}\n{markdown_table(header, body)}\n{note}"


def _lines(case: list[LayerTime]) -> Iterable[_Line]:
    names = {row.name: row for row in case}
    for what, dense, fast in ROUTINES:
        yield _Line(what, names.get(dense), names.get(fast), published.LAYER_SPEED.get(fast))
    yield _Line(
        "native float32 (dense: the fastest)",
        fastest(case, "dense", "float32"),
        fast_kernel(case),
        published.LAYER_SPEED["fff native float32"],
    )
    if narrow := fast_kernel(case, narrow=True):
        title = f"native {narrow.precision} (dense: the fastest)"
        yield _Line(title, fastest(case, "dense"), narrow, None)


def _cells(line: _Line, case: list[LayerTime], is_published: bool) -> list[str]:
    dense, ours = line.dense, line.ours
    cells = [line.what, number(dense.us_per_token) if dense else NONE]
    if ours is None:
        cells += [NONE] * 5
    else:
        ratio = ours.speedup_over.get(dense.name) if dense else None
        cells += [number(ours.us_per_token), times(ratio)]
        cells += [over(ours, fastest(case, "dense", "float32")), over(ours, fastest(case, "dense"))]
        cells.append(fraction(ours))
    return [*cells, *((line.known or (NONE, NONE)) if is_published else ())]
