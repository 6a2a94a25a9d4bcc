"""How figures look: colours that colour-blind readers tell apart, fonts, axes."""

from typing import Any

from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter, NullLocator

# Okabe and Ito's palette, told apart by colour-blind readers.
BLUE, ORANGE, GREEN, RED, PURPLE, GREY = (
    "#0072B2",
    "#E69F00",
    "#009E73",
    "#D55E00",
    "#CC79A7",
    "#767676",
)
VARIANT_COLOURS = {
    "fff": BLUE,
    "fff_masked": PURPLE,
    "ff": RED,
    "ff_active": ORANGE,
    "none": GREY,
}
SKY = "#56B4E9"
CYCLE = (GREEN, SKY, PURPLE, "#B8A800", "#000000")
STYLE: Any = {
    "font.size": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlesize": 10,
    "axes.titlelocation": "left",
    "figure.dpi": 100,
    "savefig.dpi": 160,
    "legend.frameon": False,
    "svg.hashsalt": "ultrafastbert",  # the same rows give the same file
}


def token_axis(axis: Axes, tokens: set[int]) -> None:
    """Make x a logarithmic axis of tokens per call, marked where something was measured."""
    axis.set(xscale="log", xlabel="tokens per call")
    axis.set_xticks(sorted(tokens), [f"{n:,}" for n in sorted(tokens)])
    axis.xaxis.set_minor_locator(NullLocator())


def ratio_axis(axis: Axes) -> None:
    """Make y a logarithmic axis of speed-ups, with a line where nothing is gained."""
    axis.set_yscale("log")
    axis.axhline(1, color="black", linewidth=0.8)
    axis.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}x"))
    axis.grid(axis="y", alpha=0.3)
