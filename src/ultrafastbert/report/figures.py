"""Figures from result rows, as PNG and SVG: speed of layer and model, loss curves, quality."""

import statistics
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter

from ultrafastbert.report import layer_figures, tables
from ultrafastbert.report.curve_figure import convert_curves
from ultrafastbert.report.style import CYCLE, STYLE, VARIANT_COLOURS
from ultrafastbert.report.sweep_figure import sweep_front
from ultrafastbert.report.width_figure import time_over_width
from ultrafastbert.rows import Row
from ultrafastbert.runs.outputs import make_folder

FORMATS = ("png", "svg")
# Share of a run in which the loss falls steeply.
FALL = 0.08


def draw_all(rows: Sequence[Row], folder: Path) -> dict[str, Path]:
    """Draw what the rows give into a folder; return the PNG files by name.

    Names: those of `FIGURES`; missing where rows are.
    """
    make_folder(folder)
    figures = {}
    with matplotlib.rc_context(STYLE):
        for name, function in FIGURES.items():
            if figure := function(rows):
                figures[name] = save(figure, folder / name)
    return figures


def save(figure: Figure, stem: Path) -> Path:
    """Save a figure in all formats under a path without suffix; return the PNG file."""
    for suffix in FORMATS:
        metadata = {"Date": None} if suffix == "svg" else None
        figure.savefig(stem.with_suffix(f".{suffix}"), bbox_inches="tight", metadata=metadata)
    return stem.with_suffix(".png")


def model_speed(rows: Sequence[Row]) -> Figure | None:
    """Tokens per second of whole models, each computed its fastest way; one panel a case."""
    cases = tables.model_cases(rows)
    if not cases:
        return None
    n_lines = -(-len(cases) // 2)
    figure = Figure(figsize=(11, 2.7 * n_lines), layout="constrained")
    axes = figure.subplots(n_lines, min(2, len(cases)), squeeze=False, sharey=True).flatten()
    for axis, (key, case) in zip(axes, cases.items(), strict=False):
        family, hidden, layers, pass_name, batch, sequence, _ = key
        title = f"{pass_name}, batch {batch} of {sequence} tokens"
        axis.set_title(f"{title}\n({layers} layers of {hidden}, {family})")
        _model_bars(axis, case)
    for axis in axes[len(cases) :]:
        axis.set_visible(False)
    return figure


def _model_bars(axis: Axes, case: list[Row]) -> None:
    best = [
        min(same, key=lambda row: row["latency_ms"])
        for same in tables.group(case, "variant").values()
    ]
    variants = list(VARIANT_COLOURS)[::-1]  # bars are drawn from below
    places = [variants.index(row["variant"]) for row in best]
    speeds = [row["tokens_per_s"] for row in best]
    ends = [
        [row["n_tokens"] / row[f"latency_ms_{end}"] * 1e3 for row in best]
        for end in ("high", "low")
    ]
    errors = [
        [max(0.0, speed - end) for speed, end in zip(speeds, ends[0], strict=True)],
        [max(0.0, end - speed) for speed, end in zip(speeds, ends[1], strict=True)],
    ]
    colours = [VARIANT_COLOURS[row["variant"]] for row in best]
    axis.barh(places, speeds, color=colours, xerr=errors, error_kw={"elinewidth": 0.8})
    for place, row, end in zip(places, best, ends[1], strict=True):
        text = f"  {tables.number(row['tokens_per_s'])}  {row['implementation']} {row['precision']}"
        axis.text(max(end, row["tokens_per_s"]), place, text, va="center", fontsize=8)
    axis.set_xlim(0, max(*ends[1], *speeds) * 1.6)
    axis.set_yticks(range(len(variants)), [tables.VARIANT_TITLES[name] for name in variants])
    axis.set_xlabel("tokens per second")
    axis.xaxis.set_major_formatter(FuncFormatter(lambda value, _: tables.count(value)))


def loss_curves(rows: Sequence[Row]) -> Figure | None:
    """Training loss of the pretraining runs over the tokens read, a thin line a seed."""
    curves = tables.group([row for row in rows if row["kind"] == "pretrain_curve"], "name", "seed")
    if not curves:
        return None
    figure = Figure(figsize=(7.5, 4.2), layout="constrained")
    axis = figure.subplots()
    names = list(dict.fromkeys(name for name, _ in curves))
    for (name, _), points in curves.items():
        points = sorted(tables.latest(points, "tokens"), key=lambda row: row["tokens"])
        label = name if name in names else None
        if label:
            names.remove(name)
        tokens, losses = zip(*((row["tokens"], row["loss"]) for row in points), strict=True)
        axis.plot(tokens, losses, color=_colour(name, curves), label=label, linewidth=1.2)
    axis.set(xlabel="tokens read", ylabel="training loss (nats per masked token)")
    axis.set_ylim(top=_top_of_loss(curves.values()))
    axis.xaxis.set_major_formatter(FuncFormatter(lambda value, _: tables.count(value)))
    axis.grid(alpha=0.3)
    axis.legend()
    return figure


def _top_of_loss(curves: Iterable[list[Row]]) -> float:
    """Return the largest loss after the first steps, whose fall would flatten all the rest."""
    points = [row for points in curves for row in points]
    start = FALL * max(row["tokens"] for row in points)
    losses = [row["loss"] for row in points if row["tokens"] >= start]
    return max(losses) + 0.1


def _colour(name: str, named: Sequence | dict) -> str:
    """Return the colour of a run: the control's, or one of its own."""
    others = list(dict.fromkeys(key[0] for key in named if key[0] not in VARIANT_COLOURS))
    if name in VARIANT_COLOURS:
        return VARIANT_COLOURS[name]
    return CYCLE[others.index(name) % len(CYCLE)]


def quality(rows: Sequence[Row]) -> Figure | None:
    """Share of masked tokens right and validation loss of the pretrained models; dots are seeds."""
    runs = tables.pretrain_runs(rows)
    if not runs:
        return None
    names = [f"{name} ({ffn})" if name != ffn else name for name, ffn, *_ in runs]
    colours = [_colour(key[0], runs) for key in runs]
    figure = Figure(figsize=(10, 1.4 + 0.45 * len(runs)), layout="constrained")
    left, right = figure.subplots(1, 2, sharey=True)
    accuracy = [[100 * row["validation_accuracy"] for row in same] for same in runs.values()]
    loss = [[row["validation_loss"] for row in same] for same in runs.values()]
    left.barh(range(len(runs)), [statistics.mean(a) for a in accuracy], color=colours)
    left.set_yticks(range(len(runs)), names)
    left.invert_yaxis()
    for place, values in enumerate(accuracy):
        left.plot(values, [place] * len(values), "o", color="black", markersize=3)
        left.text(max(values), place, f"  {statistics.mean(values):.1f}", va="center", fontsize=9)
    for place, values in enumerate(loss):
        right.plot(values, [place] * len(values), "o", color=colours[place], markersize=6)
        label = f"{statistics.mean(values):.3f}"
        right.annotate(
            label,
            (max(values), place),
            (8, 0),
            textcoords="offset points",
            va="center",
            fontsize=9,
        )
    left.set(xlabel="masked tokens right, % (more is better)")
    left.set_xlim(0, max(map(max, accuracy)) * 1.15)
    right.set(xlabel="validation loss, nats (less is better)")
    right.margins(x=0.15)
    right.grid(axis="x", alpha=0.3)
    return figure


FIGURES: dict[str, Callable[[Sequence[Row]], Figure | None]] = {
    "layer_speed": layer_figures.layer_speed,
    "layer_kernels": layer_figures.layer_kernels,
    "layer_limit": layer_figures.layer_limit,
    "width": time_over_width,
    "model_speed": model_speed,
    "loss_curves": loss_curves,
    "quality": quality,
    "convert_curves": convert_curves,
    "sweep": sweep_front,
}
