"""Figures of pretraining: loss curves, and quality on validation texts."""

import statistics
from collections.abc import Iterable, Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter

from ultrafastbert.report.cells import count
from ultrafastbert.report.grouping import group, latest, of_kind
from ultrafastbert.report.style import CYCLE, VARIANT_COLOURS
from ultrafastbert.report.tables import pretrain_runs
from ultrafastbert.rows.row import Row
from ultrafastbert.rows.training import PretrainCurveRow

# Share of a run in which the loss falls steeply.
FALL = 0.08


def loss_curves(rows: Sequence[Row]) -> Figure | None:
    """Training loss of the pretraining runs over the tokens read, a thin line a seed."""
    curves = group(of_kind(rows, PretrainCurveRow), lambda row: (row.name, row.seed))
    if not curves:
        return None
    figure = Figure(figsize=(7.5, 4.2), layout="constrained")
    axis = figure.subplots()
    names = list(dict.fromkeys(name for name, _ in curves))
    for (name, _), points in curves.items():
        points = sorted(latest(points, lambda row: row.tokens), key=lambda row: row.tokens)
        label = name if name in names else None
        if label:
            names.remove(name)
        tokens, losses = zip(*((row.tokens, row.loss) for row in points), strict=True)
        axis.plot(
            tokens,
            losses,
            color=_colour(name, [key[0] for key in curves]),
            label=label,
            linewidth=1.2,
        )
    axis.set(xlabel="tokens read", ylabel="training loss (nats per masked token)")
    axis.set_ylim(top=_top_of_loss(curves.values()))
    axis.xaxis.set_major_formatter(FuncFormatter(lambda value, _: count(value)))
    axis.grid(alpha=0.3)
    axis.legend()
    return figure


def _top_of_loss(curves: Iterable[list[PretrainCurveRow]]) -> float:
    """Return the largest loss after the first steps, whose fall would flatten all the rest."""
    points = [row for points in curves for row in points]
    start = FALL * max(row.tokens for row in points)
    losses = [row.loss for row in points if row.tokens >= start]
    return max(losses) + 0.1


def _colour(name: str, names: Sequence[str]) -> str:
    """Return the colour of a run: the control's, or one of its own."""
    others = list(dict.fromkeys(each for each in names if each not in VARIANT_COLOURS))
    if name in VARIANT_COLOURS:
        return VARIANT_COLOURS[name]
    return CYCLE[others.index(name) % len(CYCLE)]


def quality(rows: Sequence[Row]) -> Figure | None:
    """Share of masked tokens right and validation loss of the pretrained models; dots are seeds."""
    runs = pretrain_runs(rows)
    if not runs:
        return None
    names = [same[0].name for same in runs]
    labels = [
        f"{same[0].name} ({same[0].ffn})" if same[0].name != same[0].ffn else same[0].name
        for same in runs
    ]
    colours = [_colour(name, names) for name in names]
    figure = Figure(figsize=(10, 1.4 + 0.45 * len(runs)), layout="constrained")
    left, right = figure.subplots(1, 2, sharey=True)
    accuracy = [[100 * row.validation_accuracy for row in same] for same in runs]
    _bars(left, accuracy, labels, colours)
    _dots(right, [[row.validation_loss for row in same] for same in runs], colours)
    left.set(xlabel="masked tokens right, % (more is better)")
    right.set(xlabel="validation loss, nats (less is better)")
    return figure


def _bars(axis: Axes, accuracy: list[list[float]], labels: list[str], colours: list[str]) -> None:
    axis.barh(range(len(accuracy)), [statistics.mean(a) for a in accuracy], color=colours)
    axis.set_yticks(range(len(accuracy)), labels)
    axis.invert_yaxis()
    for place, values in enumerate(accuracy):
        axis.plot(values, [place] * len(values), "o", color="black", markersize=3)
        axis.text(max(values), place, f"  {statistics.mean(values):.1f}", va="center", fontsize=9)
    axis.set_xlim(0, max(map(max, accuracy)) * 1.15)


def _dots(axis: Axes, loss: list[list[float]], colours: list[str]) -> None:
    for place, values in enumerate(loss):
        axis.plot(values, [place] * len(values), "o", color=colours[place], markersize=6)
        axis.annotate(
            f"{statistics.mean(values):.3f}",
            (max(values), place),
            (8, 0),
            textcoords="offset points",
            va="center",
            fontsize=9,
        )
    axis.margins(x=0.15)
    axis.grid(axis="x", alpha=0.3)
