"""The figure of end-to-end distillation: held-out FVU of whole models over training steps."""

import textwrap
from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

from ultrafastbert.report.grouping import group, latest, of_kind
from ultrafastbert.report.runs import heading
from ultrafastbert.report.style import BLUE, GREEN, GREY, ORANGE, PURPLE, RED
from ultrafastbert.report.titles import FIT_METRICS, model_title
from ultrafastbert.rows.conversion import ConvertCurveRow
from ultrafastbert.rows.row import Row

COLOURS = {
    "fff": BLUE,
    "random": PURPLE,
    "ff_active": ORANGE,
    "ff_equal_latency": RED,
    "none": GREY,
}
PANELS = ("fvu_states", "fvu_logits")
SIDE = (6.2, 4.2)  # inches
TITLE_WIDTH = 80  # characters


def convert_curves(rows: Sequence[Row]) -> Figure | None:
    """FVU on held-out texts over the steps end to end, a line a seed; a panel for each run."""
    points = latest(
        of_kind(rows, ConvertCurveRow),
        lambda row: (row.run, row.model, row.ffn, row.seed, row.step),
    )
    panels = [
        (
            "\n".join((*textwrap.wrap(heading(run), TITLE_WIDTH), FIT_METRICS[name][0])),
            name,
            [row for row in same if name in row.metrics],
        )
        for run, same in group(points, lambda row: row.run).items()
        for name in PANELS
        if any(name in row.metrics for row in same)
    ]
    if not panels:
        return None
    figure = Figure(figsize=(SIDE[0] * len(panels), SIDE[1]), layout="constrained")
    axes = figure.subplots(1, len(panels), squeeze=False)[0]
    for axis, (title, name, same) in zip(axes, panels, strict=True):
        axis.set_title(title, fontsize=8)
        _draw(axis, same, name)
    return figure


def _draw(axis: Axes, rows: list[ConvertCurveRow], name: str) -> None:
    labelled = set()
    for (model, _), points in group(rows, lambda row: (row.model, row.seed)).items():
        ordered = sorted(points, key=lambda row: row.step)
        steps, errors = zip(*((row.step, row.metrics[name]) for row in ordered), strict=True)
        label = None if model in labelled else model_title(model, points[0].ffn, None)
        axis.plot(steps, errors, "o-", color=COLOURS.get(model, GREEN), label=label, markersize=3)
        labelled.add(model)
    axis.set(yscale="log", xlabel="training steps end to end")
    axis.yaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 3.0, 5.0)))
    axis.yaxis.set_major_formatter(FuncFormatter(lambda share, _: f"{100 * share:g} %"))
    axis.yaxis.set_minor_locator(NullLocator())
    axis.grid(axis="y", alpha=0.3)
    axis.legend(fontsize=8)
