"""Whole models of random weights, timed: cases, and their table."""

from collections.abc import Iterable
from typing import NamedTuple

from ultrafastbert.report.cells import NONE, markdown_table, number, times
from ultrafastbert.report.grouping import group, latest, of_kind
from ultrafastbert.report.titles import VARIANT_TITLES
from ultrafastbert.rows.models import ModelRow
from ultrafastbert.rows.row import Row


class Case(NamedTuple):
    """What is timed: a model and its inputs."""

    family: str
    hidden_size: int
    num_hidden_layers: int
    pass_name: str
    batch: int
    sequence: int
    threads: int

    @property
    def model(self) -> str:
        """The model in words."""
        return f"{self.num_hidden_layers} layers of {self.hidden_size}"


def _case(row: ModelRow) -> Case:
    return Case(
        row.family,
        row.hidden_size,
        row.num_hidden_layers,
        row.pass_name,
        row.batch,
        row.sequence,
        row.threads,
    )


def model_cases(rows: Iterable[Row]) -> dict[Case, list[ModelRow]]:
    """Return the times of whole models by case, each measurement once."""
    return group(latest(of_kind(rows, ModelRow), lambda row: (_case(row), row.name)), _case)


def fastest_of(case: Iterable[ModelRow], variant: str) -> ModelRow | None:
    """Return a variant at its fastest."""
    found = [row for row in case if row.variant == variant]
    return min(found, key=lambda row: row.latency_ms, default=None)


def model_table(rows: Iterable[Row]) -> str:
    """Return the speed of whole models, as PyTorch has them and at their fastest."""
    parts = []
    for case, same in model_cases(rows).items():
        parts.append(
            f"**{case.pass_name}**, {case.model} with {case.family}, batch {case.batch} of "
            f"{case.sequence} tokens, threads: {case.threads}\n"
        )
        header = ["feedforward layer", "active of all neurons", "PyTorch float32, tokens/s"]
        header += ["x dense", "at its fastest", "tokens/s", "ms (p10 to p90)", "x fastest dense"]
        body = [_line(each) for each in group(same, lambda row: row.variant).values()]
        parts.append(markdown_table(header, body) + "\n")
    return "\n".join(parts)


def _line(same: list[ModelRow]) -> list[str]:
    ways = {(row.implementation, row.precision): row for row in same}
    eager, best = ways.get(("eager", "float32")), min(same, key=lambda row: row.latency_ms)
    is_dense = best.variant == "ff"
    limits = f"{number(best.latency_ms_low)} to {number(best.latency_ms_high)}"
    return [
        VARIANT_TITLES[best.variant],
        f"{best.n_active:,} of {best.n_neurons:,}",
        number(eager.tokens_per_s) if eager else NONE,
        _ratio(eager, "ff eager float32", is_dense),
        f"{best.implementation} {best.precision}",
        number(best.tokens_per_s),
        f"{number(best.latency_ms)} ({limits})",
        _ratio(best, best.fastest_dense, is_dense),
    ]


def _ratio(row: ModelRow | None, baseline: str, is_baseline: bool) -> str:
    if row is None:
        return NONE
    return "1" if is_baseline else times(row.speedup_over.get(baseline))
