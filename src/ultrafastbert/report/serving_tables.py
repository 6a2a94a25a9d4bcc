"""Whole encoders in the engines that serve them: what a user decides by."""

from collections.abc import Hashable, Iterable, Iterator, Sequence

from ultrafastbert.report import published
from ultrafastbert.report.cells import NONE, join, markdown_table, number
from ultrafastbert.report.grouping import group, latest, of_kind
from ultrafastbert.report.titles import VARIANT_TITLES
from ultrafastbert.rows.engines import EngineRow, EngineSkippedRow
from ultrafastbert.rows.row import Row

ORIGINAL, OURS = "ff", "fff"
LOADS = {
    "sentence": "one real sentence a call",
    "texts": "64 real texts of mixed lengths a call",
}
MEBIBYTE = 2**20
# Engines that run the same model, whichever of them does it fastest.
FAMILIES = {"PyTorch, optimized": "PyTorch", "ultrafastbert-runtime": "ONNX Runtime"}


def serving_tables(rows: Iterable[Row]) -> str:
    """Return all tables of engines; empty without rows of them."""
    found = serving_rows(rows)
    if not found:
        return ""
    skipped = of_kind(rows, EngineSkippedRow)
    return join(speed_tables(found), padding_table(found), cost_tables(found), not_timed(skipped))


def serving_rows(rows: Iterable[Row]) -> list[EngineRow]:
    """Return the last measurement of each case."""
    return [row for same in cases(of_kind(rows, EngineRow)).values() for row in _last(same)]


def cases(rows: Iterable[EngineRow]) -> dict[Hashable, list[EngineRow]]:
    """Return rows by what can be compared: one model at one load on one processor."""
    return group(rows, lambda row: (row.model, *_load_of(row)))


def _load_of(row: EngineRow) -> tuple[str, int, str]:
    return row.load, row.threads, row.environment.processor if row.environment else ""


def _last(rows: Sequence[EngineRow]) -> list[EngineRow]:
    return [row for row in rows if row.started == rows[-1].started]


def title_of(row: EngineRow) -> str:
    """Return the load of a row and the processor, in words."""
    load, threads, processor = _load_of(row)
    batch, _, tokens = load.partition("x")
    words = LOADS.get(load) or f"{batch} {'text' if batch == '1' else 'texts'} of {tokens} tokens"
    words += f", {'one thread' if threads == 1 else f'{threads} threads'}"
    return f"{words}, {processor}" if processor else words


def way_of(row: EngineRow) -> str:
    """Return how a model was run, in words."""
    parts = [row.engine, row.precision]
    if row.operator == "standard" and row.variant == OURS:
        parts.append("standard operators")
    return " ".join(parts) + (f", {row.batching}" if row.batching == "sorted" else "")


def fastest(rows: Iterable[EngineRow], variant: str) -> EngineRow | None:
    """Return a variant at its fastest."""
    found = [row for row in rows if row.variant == variant]
    return max(found, key=lambda row: row.texts_per_s, default=None)


def speed_tables(rows: Sequence[EngineRow]) -> str:
    """Return a table for each load: a line for each model, ours and the original at its fastest."""
    header = ["model", "trees", "ours, ms (p99)", "in", "original, ms (p99)", "in"]
    header += ["no FF layers, as ours, ms", "ours x original", "ours / no FF layers, speed"]
    parts = []
    for same in group(rows, _load_of).values():
        lines = filter(None, map(_speed_line, group(same, lambda row: row.model).values()))
        parts.append(f"{title_of(same[0])}\n\n{markdown_table(header, lines)}")
    return join(*parts)


def _speed_line(same: Sequence[EngineRow]) -> list[str] | None:
    ours, original = fastest(same, OURS), fastest(same, ORIGINAL)
    if ours is None or original is None:
        return None
    none = next((row for row in same if row.variant == "none" and row.way == ours.way), None)
    ratio, share = ours.speed_over_original, ours.speed_over_none
    return [
        ours.model,
        ours.run_ffn,
        _milliseconds(ours),
        way_of(ours),
        _milliseconds(original),
        way_of(original),
        number(none.latency_ms) if none else NONE,
        f"{ratio.median:.2f}x ({ratio.low:.2f} to {ratio.high:.2f})" if ratio else NONE,
        f"{100 * share.median:.0f} %" if share else NONE,
    ]


def _milliseconds(row: EngineRow) -> str:
    return f"{number(row.latency_ms)} ({number(row.latency_ms_p99)})"


def engine_tables(rows: Iterable[Row]) -> str:
    """Return milliseconds of all variants in each engine, a table for each model and load."""
    header = ["engine", "precision", VARIANT_TITLES[OURS], "by standard operators", "original"]
    header += [VARIANT_TITLES["ff_active"], VARIANT_TITLES["none"], "ours x original, same line"]
    parts = []
    for same in cases(serving_rows(rows)).values():
        engines = group(same, lambda row: (FAMILIES.get(row.engine, row.engine), row.precision))
        body = [[*way, *_engine_cells(lines)] for way, lines in sorted(engines.items())]
        title = f"{same[0].model} ({same[0].run_ffn}), {title_of(same[0])}; milliseconds"
        parts.append(f"{title}\n\n{markdown_table(header, body)}")
    return join(*parts)


def _engine_cells(same: Sequence[EngineRow]) -> Iterator[str]:
    standard = [row for row in same if row.variant == OURS and row.operator == "standard"]
    others = [row for row in same if row not in standard]
    ours, original = fastest(others, OURS), fastest(others, ORIGINAL)
    by_standard, active = fastest(standard, OURS), fastest(others, "ff_active")
    for row in (ours, by_standard, original, active, fastest(others, "none")):
        yield number(row.latency_ms) if row else NONE
    yield f"{ours.texts_per_s / original.texts_per_s:.2f}x" if ours and original else NONE


def padding_table(rows: Iterable[EngineRow]) -> str:
    """Return what it gains not to compute padding; empty without texts of mixed lengths."""
    header = ["model", "processor", "run by", "padded to the longest, texts/s"]
    header += ["by length, texts/s", "ratio"]
    mixed = [row for row in rows if row.load == "texts" and row.variant in (OURS, ORIGINAL)]
    body = []
    models = group(mixed, lambda row: (row.model, row.variant, _load_of(row)[2]))
    for (model, variant, processor), same in models.items():
        best = fastest(same, variant)
        plain = fastest([row for row in same if row.batching == "order"], variant)
        if best and plain:
            cells = [processor or NONE, way_of(best)]
            cells += [number(plain.texts_per_s), number(best.texts_per_s)]
            what = "ours" if variant == OURS else "original"
            body.append(
                [f"{model}, {what}", *cells, f"{best.texts_per_s / plain.texts_per_s:.2f}x"]
            )
    return f"Padding, each at its fastest\n\n{markdown_table(header, body)}" if body else ""


def cost_tables(rows: Iterable[EngineRow]) -> str:
    """Return what a process costs until it has encoded a sentence, a table for each model."""
    header = ["model", "run by", "import, s", "load, s", "first call, ms", "most memory, MiB"]
    header += ["files, MB"]
    found = [row for row in rows if row.load == "sentence" and row.variant in (OURS, ORIGINAL)]
    parts = []
    for same in cases(found).values():
        engines = group(same, lambda row: (row.variant, row.engine))
        quickest = [fastest(lines, lines[0].variant) for lines in engines.values()]
        body = [_cost_line(row) for row in quickest if row]
        title = f"What a process of {same[0].model} costs, {title_of(same[0])}"
        parts.append(f"{title}\n\n{markdown_table(header, body)}")
    return join(*parts)


def _cost_line(row: EngineRow) -> list[str]:
    return [
        "ours" if row.variant == OURS else "original",
        way_of(row),
        number(row.import_s, 2),
        number(row.load_s, 2),
        number(row.first_ms),
        number(row.peak_bytes / MEBIBYTE),
        number(row.file_bytes / 1e6),
    ]


def not_timed(rows: Iterable[EngineSkippedRow]) -> str:
    """Return what was not timed, by its reason."""
    once = latest(rows, lambda row: (row.reason, row.model, row.variant, row.way))
    lines = []
    for reason, same in group(once, lambda row: row.reason).items():
        ways = ", ".join(dict.fromkeys(f"{row.engine} {row.precision}" for row in same))
        models = ", ".join(dict.fromkeys(row.model for row in same))
        lines.append(f"- Not timed ({reason}): {ways}; {models}.")
    return "\n".join(lines)


def static_table(rows: Iterable[Row]) -> str:
    """Return published figures of static embeddings, beside rows of engines."""
    if not of_kind(rows, EngineRow):
        return ""
    header = ["model", *published.STATIC_COLUMNS]
    body = [[model, *cells] for model, cells in published.STATIC.items()]
    return f"{markdown_table(header, body)}\n\n{published.STATIC_SOURCE}"
