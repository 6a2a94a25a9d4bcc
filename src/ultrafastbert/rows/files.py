"""Result rows: one JSON object a line, the only source of tables and figures.

A row has a `kind` (pretrain, glue, layer, model, ...), what was measured, and the environment it
was measured in. Units are in the names of the fields: `latency_us`, `tokens_per_s`.
"""

import json
import platform
from collections.abc import Iterator
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import IO, Any

import torch

from ultrafastbert.runs.locks import locked
from ultrafastbert.runs.outputs import make_folder, real

Row = dict[str, Any]


@cache
def _machine() -> dict[str, str]:
    info = Path("/proc/cpuinfo")  # the only place that knows the name on Linux
    lines = info.read_text(encoding="utf-8", errors="replace").splitlines() if info.exists() else []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return {
        "cpu": names[0] if names else platform.processor() or platform.machine(),
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "torch": torch.__version__,
        "transformers": version("transformers"),
        "ultrafastbert": version("ultrafastbert"),
    }


def environment() -> Row:
    """Return what a number depends on: processor, threads, versions."""
    return {**_machine(), "threads": torch.get_num_threads()}


def append_row(path: str | Path, row: Row) -> Row:
    """Append a row, with its environment, to a file of rows; return it as written."""
    return append_rows(path, [row])[0]


def append_rows(path: str | Path, new: list[Row]) -> list[Row]:
    """Append rows in one write, so that all of them are there or none; return them as written.

    Processes that write to the same file wait for each other.
    """
    new = [{**row, "environment": environment()} for row in new]
    path = real(path)
    make_folder(path.parent)
    with locked(path.with_name(f".{path.name}.lock")), path.open("a+b") as file:
        file.truncate(_whole_size(file))
        file.write("".join(json.dumps(row) + "\n" for row in new).encode())
    return new


def _whole_size(file: IO[bytes]) -> int:
    """Return the size up to the last line end: what follows was cut off while it was written."""
    file.seek(0)
    return file.read().rfind(b"\n") + 1


def read_rows(path: str | Path, kind: str | None = None) -> list[Row]:
    """Return the rows of a file, or of all `*.jsonl` files below a folder, of one kind or all.

    Raises FileNotFoundError for a missing path, ValueError naming a line that is not a row.
    """
    path = Path(path)
    files = sorted(path.rglob("*.jsonl")) if path.is_dir() else [path]
    rows = [row for file in files for row in _read_file(file)]
    return [row for row in rows if kind is None or row["kind"] == kind]


def _read_file(path: Path) -> Iterator[Row]:
    with path.open("rb") as file:
        whole = _whole_size(file)
        file.seek(0)
        content = file.read(whole)
    try:
        lines = content.decode("utf-8").splitlines()
    except UnicodeDecodeError as error:
        raise ValueError(f"{path} holds no result rows: it is not UTF-8 text") from error
    for number, line in enumerate(lines, start=1):
        try:
            row = json.loads(line)
        except json.JSONDecodeError as error:
            raise ValueError(f"{path}, line {number} is not a result row: {error}") from None
        if not isinstance(row, dict) or "kind" not in row:
            raise ValueError(f"{path}, line {number} is not a result row: it has no kind")
        yield row
