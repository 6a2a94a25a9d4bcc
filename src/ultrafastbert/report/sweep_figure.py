"""The figure of a sweep: quality of whole models against their measured time."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ultrafastbert.report.style import BLUE, GREEN, GREY, ORANGE, RED
from ultrafastbert.report.sweep_tables import (
    ScoreOf,
    chosen_ffn,
    is_uniform,
    score_titles,
    score_value,
    sweep_models,
)
from ultrafastbert.rows.row import Row
from ultrafastbert.rows.sweep import ConvertSweepRow, LayerChoice

Value = Callable[[ConvertSweepRow], float]  # of a model, on the vertical axis


def sweep_front(rows: Sequence[Row]) -> Figure | None:
    """Quality over the time of one text: choices by layer, and the same in every layer."""
    models = sweep_models(rows)
    if not models:
        return None
    panels: list[tuple[str, Value]] = [
        ("explained variance (1 - FVU) of the last hidden states, %", _explained)
    ]
    for of, title in score_titles(models).items():
        if all(score_value(row.scores, of) is not None for row in models):
            panels.append((title, partial(_score, of)))
    figure = Figure(figsize=(5.6 * len(panels), 4.4), layout="constrained")
    axes = figure.subplots(1, len(panels), squeeze=False)[0]
    for axis, (title, value) in zip(axes, panels, strict=True):
        _draw(axis, models, value, chosen_ffn(rows))
        axis.set(xlabel="one text of 128 tokens, ms (one thread)", ylabel=title)
        axis.grid(alpha=0.3)
    handles, labels = axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=4)
    return figure


def _draw(
    axis: Axes, models: list[ConvertSweepRow], value: Value, chosen: LayerChoice | None
) -> None:
    points = {row.ffn: (row.latency_text_ms, value(row)) for row in models}
    by_layer = [points[row.ffn] for row in models if not is_uniform(row)]
    if by_layer:
        axis.plot(*zip(*by_layer, strict=True), "o-", color=BLUE, label="chosen by layer")
    for row in filter(is_uniform, models):
        member = row.ffn[0]
        colour, label = _uniform_style(member)
        x, y = points[row.ffn]
        known = axis.get_legend_handles_labels()[1]
        axis.plot(x, y, "s", color=colour, label=None if label in known else label)
        axis.annotate(
            member or "original", (x, y), (5, -11), textcoords="offset points", fontsize=8
        )
    if chosen in points:
        ring: Any = {"markersize": 14, "markerfacecolor": "none", "color": "black"}
        axis.plot(*points[chosen], "o", label="saved", **ring)


def _explained(row: ConvertSweepRow) -> float:
    return 100 * (1 - row.fvu_states)


def _score(of: ScoreOf, row: ConvertSweepRow) -> float:
    return next(score.value for score in row.scores if score.of == of)


def _uniform_style(member: str | None) -> tuple[str, str]:
    if member is None:
        return RED, "the original"
    if member == "none":
        return GREY, "no feedforward layers"
    return (ORANGE, "dense, every layer") if ":" in member else (GREEN, "tree, every layer")
