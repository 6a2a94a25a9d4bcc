"""Files of rows: one JSON object a line, appended whole or not at all, checked when read."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import IO, Any, TypeVar, overload

from ultrafastbert.rows.environment import environment
from ultrafastbert.rows.kinds import KINDS, parse, to_plain
from ultrafastbert.rows.row import Row
from ultrafastbert.rows.upgrades import KINDS_1
from ultrafastbert.runs.locks import locked
from ultrafastbert.runs.outputs import make_folder, real

R = TypeVar("R", bound=Row)


def append_row(path: str | Path, row: R) -> R:
    """Append a row, with its environment, to a file of rows; return it as written."""
    return append_rows(path, [row])[0]


def append_rows(path: str | Path, new: Sequence[R]) -> list[R]:
    """Append rows in one write, so that all of them are there or none; return them as written.

    Processes that write to the same file wait for each other. Raises TypeError for what is no row.
    """
    for row in new:
        if KINDS.get(getattr(row, "kind", "")) is not type(row):
            raise TypeError(f"{row!r} is no result row")
    new = [replace(row, environment=environment()) for row in new]
    path = real(path)
    make_folder(path.parent)
    with locked(path.with_name(f".{path.name}.lock")), path.open("a+b") as file:
        file.truncate(_whole_size(file))
        file.write("".join(json.dumps(to_plain(row)) + "\n" for row in new).encode())
    return new


def _whole_size(file: IO[bytes]) -> int:
    """Return the size up to the last line end: what follows was cut off while it was written."""
    file.seek(0)
    return file.read().rfind(b"\n") + 1


@overload
def read_rows(path: str | Path, kind: type[R]) -> list[R]: ...
@overload
def read_rows(path: str | Path, kind: None = None) -> list[Row]: ...
def read_rows(path: str | Path, kind: type[Row] | None = None) -> Sequence[Row]:
    """Return the rows of a file, or of all `*.jsonl` files below a folder, of one class or all.

    Rows of earlier versions are given as those of today. Raises FileNotFoundError for a missing
    path, ValueError naming the file and line of what is no row, see `kinds.parse`.
    """
    path = Path(path)
    files = sorted(path.rglob("*.jsonl")) if path.is_dir() else [path]
    rows = [row for file in files for row in _read_file(file)]
    return [row for row in rows if kind is None or isinstance(row, kind)]


def kinds_in(path: str | Path) -> set[str]:
    """Return the kinds of the rows of a file, unchecked: also those of other versions."""
    plain = (_read_line(line, place) for place, line in _lines(Path(path)))
    return {KINDS_1.get(row["kind"], row["kind"]) for row in plain}


def _read_file(path: Path) -> Iterator[Row]:
    for place, line in _lines(path):
        plain = _read_line(line, place)
        try:
            row = parse(plain)
        except ValueError as error:
            raise ValueError(f"{place} is not a result row: {error}") from None
        yield row


def _read_line(line: str, place: str) -> dict[str, Any]:
    try:
        plain = json.loads(line)
    except json.JSONDecodeError as error:
        raise ValueError(f"{place} is not a result row: {error}") from None
    if not isinstance(plain, dict) or "kind" not in plain:
        raise ValueError(f"{place} is not a result row: it has no kind")
    return plain


def _lines(path: Path) -> Iterator[tuple[str, str]]:
    """Give the lines of a file that were written whole, each with where it is."""
    with path.open("rb") as file:
        whole = _whole_size(file)
        file.seek(0)
        content = file.read(whole)
    try:
        lines = content.decode("utf-8").splitlines()
    except UnicodeDecodeError as error:
        raise ValueError(f"{path} holds no result rows: it is not UTF-8 text") from error
    for number, line in enumerate(lines, start=1):
        yield f"{path}, line {number}", line
