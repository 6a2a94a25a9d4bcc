"""Figures of layer speeds over the batch size: beside dense layers, and beside the roofline."""

from collections.abc import Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from ultrafastbert.report.grouping import group
from ultrafastbert.report.layer_cases import (
    fast_kernel,
    fastest,
    forward_alone,
    fresh,
    most_threads,
    n_tokens,
    timed,
)
from ultrafastbert.report.style import (
    BLUE,
    GREEN,
    GREY,
    ORANGE,
    PURPLE,
    RED,
    ratio_axis,
    token_axis,
)
from ultrafastbert.report.titles import CACHE_TITLES
from ultrafastbert.rows.layers import LayerTime
from ultrafastbert.rows.row import Row

# What the fast kernel is compared with: label and colour
BASELINES = {
    "masked": ("the same layer, masked", PURPLE),
    "eager": ("dense, PyTorch float32", RED),
    "float32": ("dense, fastest float32", GREEN),
    "fastest": ("dense, fastest of any precision", ORANGE),
    "active": ("dense, as wide as the active neurons, fastest", GREY),
}


def layer_speed(rows: Sequence[Row]) -> Figure | None:
    """Speed-up of the float32 kernel over its baselines, over tokens; most threads only."""
    groups = group(
        fresh(most_threads(timed(rows))), lambda row: (row.family, row.hidden_size, row.pass_name)
    )
    groups = {key: same for key, same in groups.items() if fast_kernel(same)}
    if not groups:
        return None
    n_lines = -(-len(groups) // 2)
    figure = Figure(figsize=(10, 3.9 * n_lines), layout="constrained")
    axes = figure.subplots(n_lines, min(2, len(groups)), squeeze=False, sharey=True).flatten()
    for axis, ((family, hidden, pass_name), same) in zip(axes, groups.items(), strict=False):
        axis.set_title(f"{family}, hidden size {hidden}: {pass_name}, threads: {same[0].threads}")
        _speedups(axis, list(group(same, n_tokens).values()))
    for axis in axes[len(groups) :]:
        axis.set_visible(False)
    for axis in axes[::2]:
        axis.set_ylabel("times faster (1: as fast)")
    handles, labels = axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=2)
    return figure


def _speedups(axis: Axes, cases: list[list[LayerTime]]) -> None:
    ratio_axis(axis)
    for key, (label, colour) in BASELINES.items():
        points = sorted(point for case in cases if (point := _speedup(case, key)))
        if points:
            tokens, low, median, high = zip(*points, strict=True)
            axis.plot(tokens, median, "o-", color=colour, label=f"over {label}", markersize=4)
            axis.fill_between(tokens, low, high, color=colour, alpha=0.15, linewidth=0)
    token_axis(axis, {case[0].n_tokens for case in cases})


def _speedup(case: list[LayerTime], baseline: str) -> tuple[float, float, float, float] | None:
    """Return tokens and low, median, high of the fast kernel's speed-up, or None."""
    ours = fast_kernel(case)
    if ours is None:
        return None
    best, active = fastest(case, "dense", "float32"), fastest(case, "ff_active")
    name = {
        "masked": "fff masked float32",
        "eager": "dense eager float32",
        "float32": best.name if best else None,
        "fastest": ours.fastest_dense,
        "active": active.name if active else None,
    }[baseline]
    ratio = ours.speedup_over.get(name or "")
    return (ours.n_tokens, *ratio) if ratio else None


# Lines of fast feedforward implementations: colour, marker and line.
LINES = {
    "fff native float32": (BLUE, "o-"),
    "fff native bfloat16 weights": (GREEN, "s-"),
    "fff native int8 weights": (ORANGE, "^-"),
    "fff native bfloat16": (PURPLE, "D-"),
    "fff gather float32": (RED, "v--"),
    "fff blas1 float32": (GREY, "x--"),
    "fff blas2 float32": (GREY, "+:"),
    "fff masked float32": ("black", ".:"),
}
LABELS = {
    "fff gather float32": "PyTorch, gather and batched products",
    "fff blas1 float32": "BLAS level 1",
    "fff blas2 float32": "BLAS level 2",
    "fff masked float32": "masked, as published",
}


def label(name: str) -> str:
    """Return what a line is called in a legend."""
    return LABELS.get(name, name.removeprefix("fff "))


def layer_kernels(rows: Sequence[Row]) -> Figure | None:
    """Speed-up of every fast implementation over the batch size; forward, one thread.

    Left over the fastest dense layer in float32, right over the fastest of any precision.
    """
    groups = group(forward_alone(timed(rows)), lambda row: (row.family, row.hidden_size))
    groups = {key: same for key, same in groups.items() if fast_kernel(same)}
    most = max((_n_sizes(same) for same in groups.values()), default=0)
    # A line needs two points; tables show families of which one size was timed.
    groups = {key: same for key, same in groups.items() if _n_sizes(same) >= min(2, most)}
    if not groups:
        return None
    figure = Figure(figsize=(10, 4.3 * len(groups)), layout="constrained")
    panels = figure.subplots(len(groups), 2, squeeze=False, sharey="row")
    for (left, right), ((family, hidden), same) in zip(panels, groups.items(), strict=True):
        cases = list(group(same, n_tokens).values())
        left.set_title(f"{family}, hidden size {hidden}: over the fastest dense layer in float32")
        right.set_title("over the fastest dense layer of any precision")
        left.set_ylabel("times faster (1: as fast)")
        _kernel_lines(left, cases, "float32")
        _kernel_lines(right, cases)
    handles, labels = panels[0][0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=3)
    return figure


def _n_sizes(rows: Sequence[LayerTime]) -> int:
    return len({row.n_tokens for row in rows})


def _kernel_lines(axis: Axes, cases: list[list[LayerTime]], precision: str | None = None) -> None:
    points: dict[str, list[tuple[int, float]]] = {}
    for case in cases:
        baseline = fastest(case, "dense", precision)
        for row in case:
            if baseline and row.name in LINES:
                ratio = row.speedup_over[baseline.name].median
                points.setdefault(row.name, []).append((row.n_tokens, ratio))
    ratio_axis(axis)
    token_axis(axis, {case[0].n_tokens for case in cases})
    for name, (colour, line) in LINES.items():
        if name in points:
            tokens, ratios = zip(*sorted(points[name]), strict=True)
            axis.plot(tokens, ratios, line, color=colour, label=label(name), markersize=5)


def layer_roofline(rows: Sequence[Row]) -> Figure | None:
    """Fraction of the roofline that the native kernel reaches over the batch size."""
    found = [row for row in timed(rows) if row.roofline_fraction and row.implementation == "native"]
    groups = group(found, lambda row: (row.family, row.hidden_size, row.pass_name, row.cache))
    if not groups:
        return None
    n_lines = -(-len(groups) // 2)
    figure = Figure(figsize=(10, 3.4 * n_lines), layout="constrained")
    axes = figure.subplots(n_lines, min(2, len(groups)), squeeze=False, sharey=True).flatten()
    labelled: dict[str, Any] = {}
    for axis, ((family, hidden, pass_name, cache), same) in zip(axes, groups.items(), strict=False):
        axis.set_title(f"{family}, hidden size {hidden}: {pass_name}, {CACHE_TITLES[cache]}")
        _roofline_lines(axis, same)
        handles, labels = axis.get_legend_handles_labels()
        labelled |= dict(zip(labels, handles, strict=True))
    for axis in axes[len(groups) :]:
        axis.set_visible(False)
    for axis in axes[::2]:
        axis.set_ylabel("fraction of roofline")
    axes[0].set_ylim(0, max(1.05, 1.05 * max(map(_fraction, found))))
    figure.legend(list(labelled.values()), list(labelled), loc="outside lower center", ncols=3)
    return figure


def _fraction(row: LayerTime) -> float:
    return row.roofline_fraction or 0.0


def _roofline_lines(axis: Axes, same: list[LayerTime]) -> None:
    for (name, threads), points in group(same, lambda row: (row.name, row.threads)).items():
        points = sorted(points, key=n_tokens)
        colour, line = LINES[name]
        style = line[0] + ("-" if threads == 1 else "--")
        text = f"{label(name)}, threads: {threads}"
        tokens, fractions = list(map(n_tokens, points)), list(map(_fraction, points))
        axis.plot(tokens, fractions, style, color=colour, label=text, markersize=5)
    token_axis(axis, {row.n_tokens for row in same})
    axis.axhline(1, color="black", linewidth=0.8)
    axis.yaxis.set_major_formatter(PercentFormatter(1))
    axis.grid(axis="y", alpha=0.3)
