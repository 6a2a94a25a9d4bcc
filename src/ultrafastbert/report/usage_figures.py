"""Figures of diagnosed models: leaf usage of each layer, and how well trees would fit."""

import warnings
from collections.abc import Iterable
from pathlib import Path

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullLocator

from ultrafastbert.interpret.usage import OVERFULL
from ultrafastbert.report.figures import save
from ultrafastbert.report.style import BLUE, GREY, ORANGE, RED, STYLE
from ultrafastbert.report.usage_tables import (
    clusterability_rows,
    top_regions,
    usage_layers,
)
from ultrafastbert.rows.row import Row, columns_of
from ultrafastbert.rows.usage import ClusterabilityRow, ConvertLayerUsageRow
from ultrafastbert.runs.outputs import make_folder

# So many regions fit beside a histogram, and characters a line.
REGIONS = 8
LINE_CHARACTERS = 64
MARKERS = ((GREY, "s:"), (ORANGE, "^--"), (BLUE, "o-"), (RED, "v--"))  # in the columns' order


def draw_diagnosis(rows: Iterable[Row], folder: Path) -> list[Path]:
    """Draw what the rows of a model give into a folder, as PNG and SVG; return the PNG files.

    `layerN_usage.png`, the leaf usage of each layer, and `clusterability.png`.
    """
    rows = list(rows)
    make_folder(folder)
    with matplotlib.rc_context(STYLE), warnings.catch_warnings():
        # Characters that the font lacks are drawn as boxes.
        warnings.filterwarnings("ignore", message="Glyph .* missing from")
        figures = {f"layer{n}_usage": leaf_usage(trees) for n, trees in usage_layers(rows).items()}
        if found := clusterability_rows(rows):
            figures["clusterability"] = clusterability(found)
        return [save(figure, folder / name) for name, figure in figures.items()]


def leaf_usage(trees: list[ConvertLayerUsageRow]) -> Figure:
    """Draw how many tokens each leaf of a layer gets, sorted; top tokens of regions beside it."""
    figure = Figure(figsize=(11, 3.6), layout="constrained")
    left, right = figure.subplots(1, 2, width_ratios=(2, 3))
    first = trees[0]
    left.set_title(
        f"layer {first.layer}, {first.ffn}: {first.n_visited:,} of {first.n_leaves:,} "
        f"leaves visited, entropy {first.entropy_bits:.2f} bits"
    )
    for row in trees:
        even = row.n_tokens / row.n_leaves
        times = sorted((count / even for count in row.counts), reverse=True)
        left.stairs(times, fill=len(trees) == 1, color=BLUE, alpha=0.8)
    left.axhline(1, color="black", linewidth=0.8, linestyle="--", label="even spread")
    left.axhline(OVERFULL, color=RED, linewidth=0.8, linestyle=":", label="over-full")
    left.set(xlabel="leaves, by use", ylabel="tokens, times an even share")
    left.legend()
    _list_regions(right, trees)
    return figure


def _list_regions(axis: Axes, trees: list[ConvertLayerUsageRow]) -> None:
    axis.set_axis_off()
    axis.set_title("the most used regions: share of the tokens, top tokens")
    for place, region in enumerate(top_regions(trees, REGIONS)):
        share = f"{100 * region.share:.1f} %"
        tokens = "  ".join(text for text, _ in region.tokens)[:LINE_CHARACTERS]
        y = 1 - (place + 0.6) / REGIONS
        axis.text(0.0, y, region.name.partition(", ")[2], va="center", fontsize=9, color=GREY)
        axis.text(0.24, y, share, va="center", fontsize=9, ha="right")
        axis.text(0.27, y, tokens, va="center", fontsize=9, parse_math=False)


def clusterability(rows: list[ClusterabilityRow]) -> Figure:
    """Draw the FVU of regions, linear maps and a dense layer, over the layers."""
    figure = Figure(figsize=(7.5, 4.2), layout="constrained")
    axis = figure.subplots()
    layers = [row.layer for row in rows]
    columns = columns_of(ClusterabilityRow).items()
    for (field, column), (colour, line) in zip(columns, MARKERS, strict=True):
        shares = [getattr(row, field) for row in rows]
        axis.plot(layers, shares, line, color=colour, label=column.title, markersize=5)
    axis.set(yscale="log", xlabel="layer", ylabel="FVU")
    axis.set_title(f"{rows[0].ffn} in place of the FF layers of {rows[0].model}")
    axis.xaxis.set_major_locator(MaxNLocator(integer=True))
    axis.yaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
    axis.yaxis.set_major_formatter(FuncFormatter(lambda share, _: f"{100 * share:g} %"))
    axis.yaxis.set_minor_locator(NullLocator())
    axis.grid(axis="y", alpha=0.3)
    figure.legend(*axis.get_legend_handles_labels(), loc="outside lower center", ncols=2)
    return figure
