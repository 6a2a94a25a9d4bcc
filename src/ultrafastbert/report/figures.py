"""All figures of result rows, drawn into a folder."""

from collections.abc import Callable, Sequence
from pathlib import Path

import matplotlib
from matplotlib.figure import Figure

from ultrafastbert.report.curve_figure import convert_curves
from ultrafastbert.report.latency_quality import latency_quality
from ultrafastbert.report.layer_figures import layer_kernels, layer_roofline, layer_speed
from ultrafastbert.report.model_figure import model_speed
from ultrafastbert.report.pretrain_figures import loss_curves, quality
from ultrafastbert.report.style import STYLE
from ultrafastbert.report.sweep_figure import sweep_front
from ultrafastbert.report.width_figure import time_over_width
from ultrafastbert.rows.row import Row
from ultrafastbert.runs.outputs import make_folder

FORMATS = ("png", "svg")

FIGURES: dict[str, Callable[[Sequence[Row]], Figure | None]] = {
    "latency_quality": latency_quality,
    "layer_speed": layer_speed,
    "layer_kernels": layer_kernels,
    "layer_roofline": layer_roofline,
    "width": time_over_width,
    "model_speed": model_speed,
    "loss_curves": loss_curves,
    "quality": quality,
    "convert_curves": convert_curves,
    "sweep": sweep_front,
}


def draw_all(
    rows: Sequence[Row], folder: Path, formats: Sequence[str] = FORMATS
) -> dict[str, Path]:
    """Draw what the rows give into a folder; return the files of the first format by name.

    Names: those of `FIGURES`; missing where rows are.
    """
    make_folder(folder)
    figures = {}
    with matplotlib.rc_context(STYLE):
        for name, function in FIGURES.items():
            if figure := function(rows):
                figures[name] = save(figure, folder / name, formats)
    return figures


def save(figure: Figure, stem: Path, formats: Sequence[str] = FORMATS) -> Path:
    """Save a figure in formats under a path without suffix; return the file of the first."""
    for suffix in formats:
        metadata = {"Date": None} if suffix == "svg" else None
        figure.savefig(stem.with_suffix(f".{suffix}"), bbox_inches="tight", metadata=metadata)
    return stem.with_suffix(f".{formats[0]}")
