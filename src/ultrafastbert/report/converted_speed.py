"""How fast converted models are beside the original, in the same engine and each at its fastest."""

from collections.abc import Iterable, Sequence

from ultrafastbert.report.cells import NONE, markdown_table, number
from ultrafastbert.report.engine_table import engine_name
from ultrafastbert.report.grouping import group, of_kind
from ultrafastbert.report.runs import by_run
from ultrafastbert.report.titles import MODEL_TITLES
from ultrafastbert.rows.models import ConvertSpeedRow
from ultrafastbert.rows.row import Row

SHAPES = {"text": "One text of 128 tokens", "batch": "32 texts of 32 tokens"}
ORIGINAL = "teacher"
TREES = ("fff", "fff_int8")
COLUMNS = {
    "fff": MODEL_TITLES["fff"],
    "fff_int8": "fast feedforward, int8 weights",
    **MODEL_TITLES,
}


def speed_table(rows: Iterable[Row]) -> str:
    """Return milliseconds of models, by engine and at their fastest; empty without such rows."""
    return by_run(of_kind(rows, ConvertSpeedRow), _tables)


def last_benchmark(rows: Sequence[ConvertSpeedRow]) -> list[ConvertSpeedRow]:
    """Return the rows of the last benchmark: times of two are not of one state of the machine."""
    return [row for row in rows if row.started == rows[-1].started]


def column(row: ConvertSpeedRow) -> str:
    """Return the model of a row; trees of int8 weights have a name of their own."""
    is_small = row.model == "fff" and row.weight_dtype == "int8"
    return "fff_int8" if is_small else row.model


def _tables(rows: list[ConvertSpeedRow]) -> str:
    found = last_benchmark(rows)
    return "\n".join(_table(found, shape) for shape in SHAPES) if found else ""


def _table(rows: list[ConvertSpeedRow], shape: str) -> str:
    columns = {name: same for name, same in group(rows, column).items() if name in COLUMNS}
    names = [name for name in COLUMNS if name in columns]
    ways = group(rows, lambda row: (row.implementation, row.precision)).items()
    body = [
        [
            engine_name(implementation),
            precision,
            *_cells(same, names, shape),
            _over_original(same, shape),
        ]
        for (implementation, precision), same in ways
    ]
    if len(body) > 1:
        fastest = [min(same, key=lambda row: row.latency_ms(shape)) for same in columns.values()]
        cells = _cells(fastest, names, shape)
        body.append(["each at its fastest", "", *cells, _over_fastest(fastest, shape)])
    titles = [COLUMNS[name] for name in names]
    header = ["computed by", "precision", *titles, f"quickest tree x {MODEL_TITLES[ORIGINAL]}"]
    return f"{SHAPES[shape]}, one thread; milliseconds\n\n{markdown_table(header, body)}\n"


def _cells(rows: Iterable[ConvertSpeedRow], names: Sequence[str], shape: str) -> list[str]:
    """Return the milliseconds of each model."""
    found = {column(row): row for row in rows}
    return [number(found[name].latency_ms(shape)) if name in found else NONE for name in names]


def _over_original(same: Sequence[ConvertSpeedRow], shape: str) -> str:
    """Return the speed of the quickest tree over the original's, computed the same way."""
    original = next((row for row in same if column(row) == ORIGINAL), None)
    if original is None or (tree := quickest_tree(same, shape)) is None:
        return NONE
    return f"{original.latency_ms(shape) / tree.latency_ms(shape):.2f}x"


def _over_fastest(fastest: Iterable[ConvertSpeedRow], shape: str) -> str:
    """Return the speed of the quickest tree over the original's, with the spread of rounds."""
    if (tree := quickest_tree(fastest, shape)) is None:
        return NONE
    low, middle, high = tree.speedup_over_fastest(shape)
    return f"{middle:.2f}x ({low:.2f} to {high:.2f})"


def quickest_tree(rows: Iterable[ConvertSpeedRow], shape: str) -> ConvertSpeedRow | None:
    """Return the fastest row of a tree, with any weights, at a shape."""
    trees = [row for row in rows if column(row) in TREES]
    return min(trees, key=lambda row: row.latency_ms(shape), default=None)
