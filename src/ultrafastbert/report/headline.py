"""The results at a glance: ten lines at most, the places where we lose included."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import NamedTuple

from ultrafastbert.report import sections
from ultrafastbert.report.cells import markdown_table, number, times
from ultrafastbert.report.converted_speed import column, last_benchmark, quickest_tree
from ultrafastbert.report.engine_table import engine_name
from ultrafastbert.report.grouping import group, of_kind
from ultrafastbert.report.layer_cases import fast_kernel, fastest, fresh, most_threads, timed
from ultrafastbert.report.model_table import fastest_of, model_cases
from ultrafastbert.report.quality_run import last_score, mean_of, quality_run
from ultrafastbert.report.serving_tables import cases, serving_rows, title_of, way_of
from ultrafastbert.report.serving_tables import fastest as fastest_way
from ultrafastbert.report.titles import FIT_METRICS
from ultrafastbert.rows.engines import EngineRow
from ultrafastbert.rows.layers import LayerTime
from ultrafastbert.rows.models import ConvertSpeedRow
from ultrafastbert.rows.row import Row

MOST_LINES = 10
RESULTS = "results/README.md"
# Loads of `bench engines` that are shown: of saved models, and of sizes by name.
SAVED_LOADS = ("1x128", "32x32")
SIZED_LOADS = {"crammed": ("32x128",)}


class Line(NamedTuple):
    """One result beside its baseline."""

    what: str
    ours: str
    baseline: str
    ratio: str
    section: str  # of the results, where all numbers of its kind are


def headline_table(rows: Sequence[Row]) -> str:
    """Return the table of the README; empty where nothing of it was measured."""
    lines = [line for part in PARTS for line in part(rows)][:MOST_LINES]
    if not lines:
        return ""
    body = [[*line[:4], f"[{line.section}]({RESULTS}#{anchor(line.section)})"] for line in lines]
    header = ["what", "ours", "baseline", "ratio (more than 1: ours is better)", "where"]
    return markdown_table(header, body) + "\n"


def anchor(title: str) -> str:
    """Return what GitHub calls a heading in links."""
    kept = (letter for letter in title.lower() if letter.isalnum() or letter in " -_")
    return "".join(kept).replace(" ", "-")


def layer_lines(rows: Sequence[Row]) -> Iterator[Line]:
    """Give the speed of the first family that was timed, with the most tokens and threads.

    All at their fastest, in any precision.
    """
    found = fresh(most_threads(timed(rows)))
    for pass_name, same in group(found, lambda row: row.pass_name).items():
        first = [row for row in same if row.family == same[0].family]
        most = max(row.n_tokens for row in first)
        case = [row for row in first if row.n_tokens == most]
        kernels = list(filter(None, (fast_kernel(case), fast_kernel(case, narrow=True))))
        ours = min(kernels, key=lambda row: row.latency_us, default=None)
        if ours is None:
            continue
        what = (
            f"layer {ours.family}, hidden size {ours.hidden_size}, {pass_name}, {most:,} tokens, "
        )
        what += "one thread" if ours.threads == 1 else f"{ours.threads} threads"
        for role in ("dense", "ff_active") if pass_name == "forward" else ("dense",):
            yield from _layer_line(what, ours, fastest(case, role))


def _layer_line(what: str, ours: LayerTime, baseline: LayerTime | None) -> Iterator[Line]:
    if baseline is None:
        return
    width = "dense" if baseline.role == "dense" else "dense of active width"
    yield Line(
        what,
        f"{number(ours.us_per_token)} µs per token ({ours.precision})",
        f"{width}: {number(baseline.us_per_token)} "
        f"({baseline.implementation} {baseline.precision})",
        times(ours.speedup_over.get(baseline.name)),
        sections.LAYER,
    )


def serving_lines(rows: Sequence[Row]) -> Iterator[Line]:
    """Give whole models beside their originals, each in its fastest engine.

    Of several processors that on which the model gains least.
    """
    for same in group(_served(rows), lambda pair: (pair[0].model, pair[0].load)).values():
        ours, original = min(same, key=_gain)
        yield Line(
            f"{ours.model} with {ours.run_ffn}, {title_of(ours)}",
            f"{number(ours.latency_ms)} ms ({way_of(ours)})",
            f"original: {number(original.latency_ms)} ms ({way_of(original)})",
            times(ours.speed_over_original),
            sections.SERVING,
        )


def _served(rows: Sequence[Row]) -> Iterator[tuple[EngineRow, EngineRow]]:
    """Yield ours and the original of each case worth a line, each in its fastest engine."""
    for same in cases(serving_rows(rows)).values():
        ours, original = fastest_way(same, "fff"), fastest_way(same, "ff")
        if ours and original:
            loads = SAVED_LOADS if ours.digest else SIZED_LOADS.get(ours.model, ())
            if ours.load in loads:
                yield ours, original


def _gain(pair: tuple[EngineRow, EngineRow]) -> float:
    ours, original = pair
    return ours.texts_per_s / original.texts_per_s


def model_lines(rows: Sequence[Row]) -> Iterator[Line]:
    """Give whole models beside their dense twins, each at its fastest in PyTorch.

    Where engines were timed, training only.
    """
    served = of_kind(rows, EngineRow)
    for case, same in model_cases(rows).items():
        if served and case.pass_name == "forward":
            continue
        ours, dense = fastest_of(same, "fff"), fastest_of(same, "ff")
        if ours and dense:
            yield Line(
                f"{case.model} with {case.family}, {case.pass_name}, batch {case.batch} of "
                f"{case.sequence} tokens",
                f"{number(ours.latency_ms)} ms ({ours.implementation} {ours.precision})",
                f"dense: {number(dense.latency_ms)} ms ({dense.implementation} {dense.precision})",
                times(ours.speedup_over.get(dense.name)),
                sections.MODEL,
            )


def converted_lines(rows: Sequence[Row]) -> Iterator[Line]:
    """Give a converted model beside the original, each at its fastest, and where it loses.

    Nothing where converted models were timed in engines.
    """
    if any(row.digest for row in of_kind(rows, EngineRow)):
        return
    found = last_benchmark(of_kind(rows, ConvertSpeedRow))
    tree, original = quickest_tree(found, "text"), _fastest_original(found)
    if tree is None or original is None:
        return
    what = f"{original.original} converted ({tree.run_ffn}), one text of 128 tokens, one thread"
    yield _speed_line(what, tree, original, times(tree.speedup_over_fastest("text")))
    ways = group(found, lambda row: (row.implementation, row.precision))
    worst = min(filter(None, map(_in_one_engine, ways.values())), default=None)
    if worst and worst[0] < 1:
        ratio, way = worst
        ours, original = quickest_tree(ways[way], "text"), _fastest_original(ways[way])
        if ours and original:
            yield _speed_line(f"the same in {way[0]} {way[1]}", ours, original, f"{ratio:.2f}x")


def _in_one_engine(rows: list[ConvertSpeedRow]) -> tuple[float, tuple[str, str]] | None:
    ours, original = quickest_tree(rows, "text"), _fastest_original(rows)
    if ours is None or original is None:
        return None
    way = (ours.implementation, ours.precision)
    return original.latency_text_ms / ours.latency_text_ms, way


def _speed_line(what: str, ours: ConvertSpeedRow, original: ConvertSpeedRow, ratio: str) -> Line:
    def described(row: ConvertSpeedRow) -> str:
        weights = f", {row.weight_dtype} weights" if row.weight_dtype != "float32" else ""
        how = f"{engine_name(row.implementation)} {row.precision}{weights}"
        return f"{number(row.latency_text_ms)} ms ({how})"

    return Line(what, described(ours), f"original: {described(original)}", ratio, sections.SPEED)


def _fastest_original(rows: Iterable[ConvertSpeedRow]) -> ConvertSpeedRow | None:
    found = [row for row in rows if column(row) == "teacher"]
    return min(found, key=lambda row: row.latency_text_ms, default=None)


def quality_lines(rows: Sequence[Row]) -> Iterator[Line]:
    """Give how near converted models are to the original, beside the control of equal latency."""
    run = quality_run(rows)
    if not run:
        return
    fvu = FIT_METRICS["fvu_states"][0]
    control = next((row.model for row in run if row.model == "ff_equal_latency"), "none")
    what = f"{run[0].original} converted ({run[0].run_ffn})"
    ours, theirs = mean_of(run, "fff", fvu), mean_of(run, control, fvu)
    yield Line(
        f"{what}: {fvu} (less is better)",
        f"{ours:.1f}",
        f"{_CONTROLS[control]}: {theirs:.1f}",
        f"{theirs / ours:.2f}x",
        sections.QUALITY,
    )
    if title := last_score(run):
        ours, theirs = mean_of(run, "fff", title), mean_of(run, "teacher", title)
        gap = f"original: {theirs:.1f}; {_CONTROLS[control]}: {mean_of(run, control, title):.1f}"
        yield Line(f"{what}: {title}", f"{ours:.1f}", gap, f"{ours / theirs:.3f}", sections.QUALITY)


_CONTROLS = {"ff_equal_latency": "dense of equal latency", "none": "no feedforward layers"}
PARTS: tuple[Callable[[Sequence[Row]], Iterable[Line]], ...] = (
    layer_lines,
    serving_lines,
    model_lines,
    converted_lines,
    quality_lines,
)
