"""Users' own pairs: a file of a JSON object a line, with `query` and `passage`."""

import json
from collections.abc import Iterator
from pathlib import Path

from ultrafastbert.evaluate.retrieval.task import Pair
from ultrafastbert.evaluate.task_data import numbered_lines

COLUMNS = ("query", "passage")


def read_pairs(path: Path) -> Iterator[Pair]:
    """Yield the pairs of a file of JSON lines, which may be gzipped (`.gz`).

    Raises FileNotFoundError for a missing file; ValueError naming the line for what is not UTF-8,
    not JSON, or has no text as `query` and `passage`.
    """
    if not path.is_file():
        raise FileNotFoundError(f"no file {path} with a JSON object a line, of query and passage")
    for number, line in numbered_lines(path):
        yield _pair(line, f"{path}, line {number}")


def _pair(line: str, place: str) -> Pair:
    try:
        row = json.loads(line)
    except (json.JSONDecodeError, RecursionError):
        raise ValueError(f"{place} is not JSON; write a query and a passage a line") from None
    found = [row.get(name) for name in COLUMNS] if isinstance(row, dict) else []
    query, passage = (text.strip() if isinstance(text, str) else "" for text in found or ("", ""))
    if not query or not passage:
        raise ValueError(f"{place} needs texts as query and passage, neither of them empty")
    return query, passage
