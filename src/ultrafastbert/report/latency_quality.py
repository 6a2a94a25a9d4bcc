"""The figure of latency against quality: the original in its engines, ours, the controls."""

import statistics
from collections.abc import Sequence
from typing import Any, NamedTuple

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from ultrafastbert.report.converted_speed import ORIGINAL, last_benchmark
from ultrafastbert.report.curve_figure import COLOURS
from ultrafastbert.report.engine_table import engine_name
from ultrafastbert.report.grouping import group, of_kind
from ultrafastbert.report.quality_run import last_score, quality_run, values_of
from ultrafastbert.report.runs import heading
from ultrafastbert.report.serving_tables import FAMILIES, serving_rows
from ultrafastbert.report.style import GREEN
from ultrafastbert.report.titles import MODEL_TITLES
from ultrafastbert.rows.engines import EngineRow
from ultrafastbert.rows.models import ConvertSpeedRow
from ultrafastbert.rows.row import Row

MARKERS = {
    "eager": "o",
    "packed": "D",
    "dynamic": "v",
    "dynamic oneDNN": "<",
    "ONNX Runtime": "^",
    "OpenVINO": "s",
}
NOTE = "hollow: int8, at the score of the float32 weights"
# The time of trees of int8 weights stands beside that of the same tree; variants of `bench engines`
# have names of their own.
SAME_MODEL = {"fff_int8": "fff", "ff": ORIGINAL}
LOAD = "1x128"


class Point(NamedTuple):
    """A model's time, run one way."""

    model: str
    engine: str
    is_int8: bool
    latency_ms: float
    threads: int


def latency_quality(rows: Sequence[Row]) -> Figure | None:
    """Score of whole models over the time of one text, a line for each model, a point an engine.

    Scores are those of the conversion with the most models and seeds; bars are their standard
    deviation. Models that were not both timed and scored are left out.
    """
    run = quality_run(rows)
    title = last_score(run)
    timed = _timed(rows, run[0].original, run[0].run_ffn) if run else []
    if title is None or not timed:
        return None
    figure = Figure(figsize=(9, 5), layout="constrained")
    axis = figure.subplots()
    for model, points in group(timed, lambda point: point.model).items():
        if scores := values_of(run, model, title):
            _line(axis, model, points, scores)
    axis.set_title(heading(run[0].run), fontsize=8)
    threads = "one thread" if timed[0].threads == 1 else f"{timed[0].threads} threads"
    axis.set(xlabel=f"one text of 128 tokens, ms ({threads}; less is better)", ylabel=title)
    axis.set_xlim(left=0, right=1.3 * max(point.latency_ms for point in timed))
    axis.grid(alpha=0.3)
    _legend(figure, timed)
    return figure


def _timed(rows: Sequence[Row], original: str | None, run_ffn: str | None) -> list[Point]:
    """Return the last benchmark of a conversion: that of engines, or else PyTorch's."""
    served = [
        row
        for row in serving_rows(rows)
        if row.digest and (row.model, row.run_ffn, row.load) == (original, run_ffn, LOAD)
    ]
    if served:  # those of one processor: the last that was measured
        last = max(served, key=lambda row: (-row.threads, row.started)).started
        return [_served_point(row) for row in served if row.started == last]
    speeds = of_kind(rows, ConvertSpeedRow)
    speeds = [row for row in speeds if (row.original, row.run_ffn) == (original, run_ffn)]
    return [_speed_point(row) for row in last_benchmark(speeds)] if speeds else []


def _served_point(row: EngineRow) -> Point:
    model = SAME_MODEL.get(row.variant, row.variant)
    engine = FAMILIES.get(row.engine, row.engine)
    return Point(model, engine, row.precision == "int8", row.latency_ms, row.threads)


def _speed_point(row: ConvertSpeedRow) -> Point:
    model, is_int8 = (
        SAME_MODEL.get(row.model, row.model),
        "int8" in (row.precision, row.weight_dtype),
    )
    return Point(model, row.implementation, is_int8, row.latency_text_ms, threads=1)


def _line(axis: Axes, model: str, points: list[Point], scores: list[float]) -> None:
    colour = "black" if model == ORIGINAL else COLOURS.get(model, GREEN)
    score = statistics.mean(scores)
    times = [point.latency_ms for point in points]
    axis.hlines(score, min(times), max(times), color=colour, linewidth=1, alpha=0.5)
    for point in points:
        face = "white" if point.is_int8 else colour
        marker = MARKERS.get(point.engine, "o")
        axis.plot(point.latency_ms, score, marker, color=colour, markerfacecolor=face)
    if len(scores) > 1:
        deviation = statistics.stdev(scores)
        axis.errorbar(min(times), score, deviation, color=colour, capsize=3, linewidth=1)
    name = MODEL_TITLES.get(model, model)
    place: Any = {"xytext": (8, 0), "textcoords": "offset points", "va": "center"}
    axis.annotate(name, (max(times), score), fontsize=9, color=colour, **place)


def _legend(figure: Figure, timed: list[Point]) -> None:
    known = {point.engine for point in timed}
    handles = [
        Line2D([], [], marker=marker, linestyle="", color="black", label=_engine_title(name))
        for name, marker in MARKERS.items()
        if name in known
    ]
    hollow: Any = {"markerfacecolor": "white", "color": "black", "linestyle": ""}
    handles.append(Line2D([], [], marker="o", label=NOTE, **hollow))
    figure.legend(handles=handles, loc="outside lower center", ncols=3, fontsize=8)


def _engine_title(engine: str) -> str:
    return engine if engine == "PyTorch" else engine_name(engine)
