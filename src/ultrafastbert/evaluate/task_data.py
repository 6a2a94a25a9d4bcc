"""Labelled rows of a task, from local files or the hub, checked before anything is trained."""

import gzip
import hashlib
import json
import math
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import datasets

from ultrafastbert.evaluate.tasks import TaskSpec

HUB_NAME = "nyu-mll/glue"
_SUFFIXES = (".jsonl.gz", ".jsonl")
_BROKEN_GZIP = (gzip.BadGzipFile, EOFError, zlib.error)
_MAX_SHOWN_CHARS = 60


def load_task(spec: TaskSpec, data_dir: str | Path | None = None) -> dict[str, datasets.Dataset]:
    """Return the splits of a GLUE task: `train`, the main validation split and any others.

    They are read from `data_dir/<task>/<split>.jsonl.gz` (or `.jsonl`, one JSON object a line), or
    without `data_dir` from the Hugging Face hub.

    Raises ValueError naming the file, line and value that is missing or wrong, OSError when the
    hub cannot be read.
    """
    if data_dir is None:
        return {split: _from_hub(spec, split) for split in spec.n_rows}
    folder = Path(data_dir) / spec.name
    if not folder.is_dir():
        raise ValueError(f"data_dir={str(data_dir)!r} has no folder {spec.name}")
    paths = {split: _find(folder, split) for split in spec.n_rows}
    for split in list(spec.n_rows)[:2]:  # any others are optional
        if paths[split] is None:
            files = " or ".join(split + suffix for suffix in _SUFFIXES)
            raise ValueError(f"the folder {folder} has no file {files}")
    return {split: _from_file(spec, path) for split, path in paths.items() if path is not None}


def load_split(spec: TaskSpec, split: str, data_dir: str | Path | None) -> datasets.Dataset | None:
    """Return one split of a task from a folder; None without the folder or the split's file.

    Raises ValueError naming the file, line and value that is missing or wrong.
    """
    path = None if data_dir is None else _find(Path(data_dir) / spec.name, split)
    return None if path is None else _from_file(spec, path)


def data_digest(splits: Mapping[str, datasets.Dataset]) -> str:
    """Return a digest of all rows of all splits."""
    digest = hashlib.sha256()
    for split, dataset in splits.items():
        digest.update(split.encode())
        for row in dataset:
            digest.update(repr(sorted(row.items())).encode())
    return digest.hexdigest()[:16]


def check_dataset(dataset: datasets.Dataset, spec: TaskSpec, place: str) -> None:
    """Raise ValueError naming `place`, the row and the value unless all rows fit the task.

    The same for what is no data set, such as a table or a list of rows.
    """
    if not isinstance(dataset, datasets.Dataset):
        raise ValueError(
            f"{place} is of type {type(dataset).__name__}, not a datasets.Dataset: make one by its "
            "from_list, from_dict or from_pandas"
        )
    names = (*spec.text_columns, "label")
    if missing := [name for name in names if name not in dataset.column_names]:
        raise ValueError(f"{place} has no column {missing[0]!r}; {_needed(spec)}")
    if not len(dataset):
        raise ValueError(f"{place} has no rows")
    for index, values in enumerate(zip(*(dataset[name] for name in names), strict=True)):
        check_row(dict(zip(names, values, strict=True)), spec, f"{place}, row {index}")


def check_row(row: Any, spec: TaskSpec, place: str) -> None:
    """Raise ValueError naming `place` and the value unless a row is one of the task."""
    if not isinstance(row, dict):
        raise ValueError(f"{place}: {_show(row)} is not a JSON object; {_needed(spec)}")
    for name in (*spec.text_columns, "label"):
        if name not in row:
            raise ValueError(f"{place} has no column {name!r}; {_needed(spec)}")
    for name in spec.text_columns:
        if not isinstance(row[name], str):
            raise ValueError(f"{place}: {name} must be a string, got {_show(row[name])}")
    _check_label(row["label"], spec, place)


def _check_label(label: Any, spec: TaskSpec, place: str) -> None:
    is_number = isinstance(label, int | float) and not isinstance(label, bool)
    if spec.is_regression:
        if not is_number or not math.isfinite(label):
            raise ValueError(f"{place}: label must be a finite number, got {_show(label)}")
    elif not is_number or label not in range(len(spec.label_names)):
        classes = ", ".join(f"{i} ({name})" for i, name in enumerate(spec.label_names))
        raise ValueError(f"{place}: label must be one of {classes}, got {_show(label)}")


def _needed(spec: TaskSpec) -> str:
    return f"task {spec.name} needs {', '.join(spec.text_columns)} and label"


def _show(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= _MAX_SHOWN_CHARS else f"{text[:_MAX_SHOWN_CHARS]}..."


def _find(folder: Path, split: str) -> Path | None:
    candidates = (folder / f"{split}{suffix}" for suffix in _SUFFIXES)
    return next((path for path in candidates if path.is_file()), None)


def _from_file(spec: TaskSpec, path: Path) -> datasets.Dataset:
    columns: dict[str, list] = {name: [] for name in (*spec.text_columns, "label")}
    for row in _rows(spec, path):
        for name, values in columns.items():
            values.append(row[name])
    if not columns["label"]:
        raise ValueError(f"{path} has no rows")
    number = float if spec.is_regression else int
    columns["label"] = [number(label) for label in columns["label"]]
    return datasets.Dataset.from_dict(columns)


def _rows(spec: TaskSpec, path: Path) -> Iterator[dict[str, Any]]:
    for number, line in numbered_lines(path):
        place = f"{path}, line {number}"
        try:
            row = json.loads(line)
        except json.JSONDecodeError as error:
            raise ValueError(f"{place} is not JSON: {error.msg} in {_show(line)}") from None
        check_row(row, spec, place)
        yield row


def numbered_lines(path: Path) -> Iterator[tuple[int, str]]:
    """Yield the lines of a text file, gzipped or not, with their numbers; blank ones are left out.

    Raises ValueError naming the line that is not UTF-8, and for a broken gzip file.
    """
    number = 0
    try:
        with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as file:
            for number, line in enumerate(file, start=1):
                if line.strip():
                    yield number, line.decode().strip()
    except UnicodeDecodeError as error:
        raise ValueError(f"{path}, line {number} is not UTF-8 text: {error.reason}") from None
    except _BROKEN_GZIP as error:
        raise ValueError(f"broken gzip file {path}: {error}") from None


def _from_hub(spec: TaskSpec, split: str) -> datasets.Dataset:
    try:
        dataset = datasets.load_dataset(HUB_NAME, spec.name, split=split)
    except (OSError, ValueError) as error:
        reason = str(error).partition("\n")[0]
        raise OSError(
            f"cannot read GLUE task {spec.name} ({split}) from the hub: {reason}; check the "
            "connection, or give a folder with <task>/<split>.jsonl.gz files (--data-dir)"
        ) from error
    check_dataset(dataset, spec, f"{HUB_NAME} {spec.name} {split}")
    return dataset
