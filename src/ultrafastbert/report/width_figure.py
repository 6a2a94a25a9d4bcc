"""The figure of time over the number of neurons."""

from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter

from ultrafastbert.report.grouping import group
from ultrafastbert.report.layer_cases import fast_kernel, fastest, timed
from ultrafastbert.report.layer_figures import LINES, label
from ultrafastbert.report.style import BLUE, GREY, RED
from ultrafastbert.rows.layers import LayerTime, WidthRow
from ultrafastbert.rows.row import Row

GPT3_NEURONS = 2**16 - 1  # of a tree of depth 15: the width of GPT-3's layers, but one

BASELINE_LINES = {"roofline": (GREY, "-"), "float32": (RED, "v--"), "any": ("black", "d:")}
BASELINE_LABELS = {
    "roofline": "roofline of the machine for FFF, float32",
    "float32": "dense, fastest float32",
    "any": "dense, fastest of any precision",
}


def time_over_width(rows: Sequence[Row]) -> Figure | None:
    """Time of a token over the number of neurons: logarithmic for trees, linear if dense."""
    groups = group(timed(rows, WidthRow), lambda row: (row.hidden_size, row.n_tokens, row.threads))
    if not groups:
        return None
    figure = Figure(figsize=(5.2 * len(groups), 4.6), layout="constrained")
    panels = figure.subplots(1, len(groups), squeeze=False, sharey=True)[0]
    for axis, ((hidden, n, threads), same) in zip(panels, groups.items(), strict=True):
        tokens = "1 token" if n == 1 else f"{n:,} tokens"
        axis.set_title(f"{tokens} per call, hidden size {hidden}, threads: {threads}")
        _width_lines(axis, list(group(same, lambda row: row.n_neurons).values()))
    panels[0].set_ylabel("µs per token")
    handles, labels = panels[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=3)
    return figure


def _width_lines(axis: Axes, cases: list[list[LayerTime]]) -> None:
    axis.set_xscale("log", base=2)
    axis.set(yscale="log", xlabel="neurons of the layer")
    for name, (colour, line) in (LINES | BASELINE_LINES).items():
        points = sorted(point for case in cases if (point := _point(case, name)))
        if points:
            title = BASELINE_LABELS.get(name) or f"FFF, {label(name)}"
            neurons, micros = zip(*points, strict=True)
            axis.plot(neurons, micros, line, color=colour, label=title, markersize=4)
    axis.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,g}"))
    axis.grid(alpha=0.3)
    _annotate(axis, cases)


def _point(case: list[LayerTime], name: str) -> tuple[int, float] | None:
    """Return neurons and µs per token of a line, or None where it was not measured."""
    if name == "roofline":
        ours = fast_kernel(case)
        least = ours.roofline_us if ours else None
        return (case[0].n_neurons, least) if least else None
    found = {"float32": fastest(case, "dense", "float32"), "any": fastest(case, "dense")}
    row = found.get(name) or next((row for row in case if row.name == name), None)
    return (row.n_neurons, row.us_per_token) if row else None


def _annotate(axis: Axes, cases: list[list[LayerTime]]) -> None:
    """Point at the layer as wide as GPT-3's, of which a token uses 16 neurons."""
    for case in cases:
        ours = fast_kernel(case)
        if ours and ours.n_neurons == GPT3_NEURONS:
            axis.annotate(
                f"GPT-3's width: {ours.n_active} of {ours.n_neurons:,}",
                (ours.n_neurons, ours.us_per_token),
                (14, -34),
                textcoords="offset points",
                ha="right",
                bbox={"facecolor": "white", "edgecolor": "none", "alpha": 0.85, "pad": 1},
                arrowprops={"arrowstyle": "->", "color": BLUE},
                color=BLUE,
                fontsize=9,
            )
