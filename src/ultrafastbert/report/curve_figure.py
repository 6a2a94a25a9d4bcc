"""The figure of end-to-end distillation: held-out error of whole models over their updates."""

import textwrap
from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

from ultrafastbert.report.convert_tables import model_title
from ultrafastbert.report.runs import RUN, heading
from ultrafastbert.report.style import BLUE, GREEN, GREY, ORANGE, PURPLE, RED
from ultrafastbert.report.tables import group, latest
from ultrafastbert.rows import Row

COLOURS = {"fff": BLUE, "random": PURPLE, "ff_active": ORANGE, "ff_time": RED, "none": GREY}
PANELS = {
    "unexplained_states": "last hidden states: variance left unexplained",
    "unexplained_logits": "logits: variance left unexplained",
}
SIDE = (6.2, 4.2)  # inches
TITLE_WIDTH = 80  # characters


def convert_curves(rows: Sequence[Row]) -> Figure | None:
    """Error on held-out texts over the updates end to end, a line a seed; a panel for each run."""
    points = [row for row in rows if row["kind"] == "convert_curve"]
    points = latest(points, *RUN, "model", "ffn", "seed", "step")
    panels = [
        (
            "\n".join((*textwrap.wrap(heading(run), TITLE_WIDTH), title)),
            field,
            [row for row in same if field in row],
        )
        for run, same in group(points, *RUN).items()
        for field, title in PANELS.items()
        if any(field in row for row in same)
    ]
    if not panels:
        return None
    figure = Figure(figsize=(SIDE[0] * len(panels), SIDE[1]), layout="constrained")
    axes = figure.subplots(1, len(panels), squeeze=False)[0]
    for axis, (title, field, same) in zip(axes, panels, strict=True):
        axis.set_title(title, fontsize=8)
        _draw(axis, same, field)
    return figure


def _draw(axis: Axes, rows: list[Row], field: str) -> None:
    labelled = set()
    for (model, _), points in group(rows, "model", "seed").items():
        ordered = sorted(points, key=lambda row: row["step"])
        steps, errors = zip(*((row["step"], row[field]) for row in ordered), strict=True)
        label = None if model in labelled else model_title(points[0])
        axis.plot(steps, errors, "o-", color=COLOURS.get(model, GREEN), label=label, markersize=3)
        labelled.add(model)
    axis.set(yscale="log", xlabel="updates end to end")
    axis.yaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 3.0, 5.0)))
    axis.yaxis.set_major_formatter(FuncFormatter(lambda share, _: f"{100 * share:g} %"))
    axis.yaxis.set_minor_locator(NullLocator())
    axis.grid(axis="y", alpha=0.3)
    axis.legend(fontsize=8)
