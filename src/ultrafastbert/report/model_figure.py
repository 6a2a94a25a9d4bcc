"""The figure of whole models' speed."""

from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter

from ultrafastbert.report.cells import count, number
from ultrafastbert.report.grouping import group
from ultrafastbert.report.model_table import model_cases
from ultrafastbert.report.style import VARIANT_COLOURS
from ultrafastbert.report.titles import VARIANT_TITLES
from ultrafastbert.rows.models import ModelRow
from ultrafastbert.rows.row import Row


def model_speed(rows: Sequence[Row]) -> Figure | None:
    """Tokens per second of whole models, each computed its fastest way; one panel a case."""
    cases = model_cases(rows)
    if not cases:
        return None
    n_lines = -(-len(cases) // 2)
    figure = Figure(figsize=(11, 2.7 * n_lines), layout="constrained")
    axes = figure.subplots(n_lines, min(2, len(cases)), squeeze=False, sharey=True).flatten()
    for axis, (case, same) in zip(axes, cases.items(), strict=False):
        title = f"{case.pass_name}, batch {case.batch} of {case.sequence} tokens"
        axis.set_title(f"{title}\n({case.model}, {case.family})")
        _model_bars(axis, same)
    for axis in axes[len(cases) :]:
        axis.set_visible(False)
    return figure


def _model_bars(axis: Axes, case: list[ModelRow]) -> None:
    best = [
        min(same, key=lambda row: row.latency_ms)
        for same in group(case, lambda row: row.variant).values()
    ]
    variants = list(VARIANT_COLOURS)[::-1]  # bars are drawn from below
    places = [variants.index(row.variant) for row in best]
    speeds = [row.tokens_per_s for row in best]
    slow = [row.n_tokens / row.latency_ms_high * 1e3 for row in best]
    quick = [row.n_tokens / row.latency_ms_low * 1e3 for row in best]
    errors = [
        [max(0.0, speed - end) for speed, end in zip(speeds, slow, strict=True)],
        [max(0.0, end - speed) for speed, end in zip(speeds, quick, strict=True)],
    ]
    colours = [VARIANT_COLOURS[row.variant] for row in best]
    axis.barh(places, speeds, color=colours, xerr=errors, error_kw={"elinewidth": 0.8})
    for place, row, end in zip(places, best, quick, strict=True):
        text = f"  {number(row.tokens_per_s)}  {row.implementation} {row.precision}"
        axis.text(max(end, row.tokens_per_s), place, text, va="center", fontsize=8)
    axis.set_xlim(0, max(*quick, *speeds) * 1.6)
    axis.set_yticks(range(len(variants)), [VARIANT_TITLES[name] for name in variants])
    axis.set_xlabel("tokens per second")
    axis.xaxis.set_major_formatter(FuncFormatter(lambda value, _: count(value)))
