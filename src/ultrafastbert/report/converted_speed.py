"""How fast converted models are beside the original, in the same engine and each at its fastest."""

from collections.abc import Iterable, Sequence

from ultrafastbert.report.convert_tables import TITLES
from ultrafastbert.report.engine_table import engine_name
from ultrafastbert.report.runs import by_run
from ultrafastbert.report.tables import NONE, group, markdown_table, number
from ultrafastbert.rows import Row

SHAPES = {"text": "One text of 128 tokens", "batch": "32 texts of 32 tokens"}
ORIGINAL = "teacher"
TREES = ("fff", "fff_int8")
COLUMNS = {"fff": TITLES["fff"], "fff_int8": "fast feedforward, int8 weights", **TITLES}
# Rows from before models were timed in more ways than one.
EAGER = {"implementation": "eager", "precision": "float32"}


def speed_table(rows: Iterable[Row]) -> str:
    """Return milliseconds of models, by engine and at their fastest; empty without such rows."""
    return by_run([EAGER | row for row in rows if row["kind"] == "convert_speed"], _tables)


def _tables(rows: list[Row]) -> str:
    # Of one benchmark, the last: times of two are not of the same machine, nor beside each other.
    found = [_with_column(row) for row in rows if row.get("started") == rows[-1].get("started")]
    return "\n".join(_table(found, shape) for shape in SHAPES) if found else ""


def _with_column(row: Row) -> Row:
    """Return a row with the name of its column: trees of int8 weights have one of their own."""
    is_small = row["model"] == "fff" and row["weight_dtype"] == "int8"
    return row | {"column": "fff_int8" if is_small else row["model"]}


def _table(rows: list[Row], shape: str) -> str:
    columns = {name: same for (name,), same in group(rows, "column").items() if name in COLUMNS}
    names = [name for name in COLUMNS if name in columns]
    ways = group(rows, "implementation", "precision").items()
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
        fastest = [min(same, key=lambda row: _ms(row, shape)) for same in columns.values()]
        cells = _cells(fastest, names, shape)
        body.append(["each at its fastest", "", *cells, _over_fastest(fastest, shape)])
    titles = [COLUMNS[name] for name in names]
    header = ["computed by", "precision", *titles, f"quickest tree x {TITLES[ORIGINAL]}"]
    return f"{SHAPES[shape]}, one thread; milliseconds\n\n{markdown_table(header, body)}\n"


def _cells(rows: Iterable[Row], names: Sequence[str], shape: str) -> list[str]:
    """Return the milliseconds of each model."""
    of_column = {row["column"]: row for row in rows}
    return [number(_ms(of_column[name], shape)) if name in of_column else NONE for name in names]


def _over_original(same: Sequence[Row], shape: str) -> str:
    """Return the speed of the quickest tree over the original's, computed the same way."""
    original = next((row for row in same if row["column"] == ORIGINAL), None)
    if original is None or (tree := _quickest_tree(same, shape)) is None:
        return NONE
    return f"{_ms(original, shape) / _ms(tree, shape):.2f}x"


def _over_fastest(fastest: Iterable[Row], shape: str) -> str:
    """Return the speed of the quickest tree over the original's, with the spread of rounds."""
    if (tree := _quickest_tree(fastest, shape)) is None:
        return NONE
    low, middle, high = tree[f"speedup_{shape}_over_fastest"]
    return f"{middle:.2f}x ({low:.2f} to {high:.2f})"


def _quickest_tree(rows: Iterable[Row], shape: str) -> Row | None:
    trees = [row for row in rows if row["column"] in TREES]
    return min(trees, key=lambda row: _ms(row, shape), default=None)


def _ms(row: Row, shape: str) -> float:
    return row[f"latency_{shape}_ms"]
