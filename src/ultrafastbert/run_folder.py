"""A folder that holds one run: never overwritten, continued only with the same settings."""

import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

# A folder with one of these holds results of something else.
RESULTS = ("config.json", "*.safetensors", "rows.jsonl", "report.md")


def is_main_process() -> bool:
    """Return whether this process writes results: the first of those that torchrun starts."""
    return os.environ.get("RANK", "0") == "0"


def check(folder: Path, file_name: str, resume: bool) -> None:
    """Raise FileExistsError if a run must not write to a folder.

    That is when the folder holds a run (its settings are in `file_name`) and `resume` is not set,
    or when it holds results of something else. The main process looks, before it writes there.
    """
    if not is_main_process():
        return
    if (folder / file_name).exists():
        if not resume:
            raise FileExistsError(
                f"{folder} holds a run already; continue it with --resume or choose another folder"
            )
    elif found := [path.name for pattern in RESULTS for path in folder.glob(pattern)]:
        raise FileExistsError(f"{folder} holds {found[0]} of something else; choose another folder")


def claim(folder: Path, file_name: str, settings: dict[str, Any], resume: bool) -> None:
    """Take a folder for a run with these settings.

    The settings are kept in the folder's file `file_name`, which the main process writes.
    Raises FileExistsError as `check`, and ValueError, naming what differs, if the folder holds a
    run with other settings.
    """
    if not is_main_process():
        return
    check(folder, file_name, resume)
    settings = json.loads(json.dumps(settings))
    path = folder / file_name
    if not path.exists():
        folder.mkdir(parents=True, exist_ok=True)
        partial = path.with_suffix(".partial")
        partial.write_text(json.dumps(settings, indent=2) + "\n", encoding="utf-8")
        partial.replace(path)
        return
    before = json.loads(path.read_text(encoding="utf-8"))
    if changed := sorted(key for key in settings if settings[key] != before.get(key)):
        raise ValueError(
            f"{folder} holds a run that differs in {', '.join(changed)}; choose another folder"
        )


def check_empty(folder: Path) -> None:
    """Raise FileExistsError unless a folder is new or empty."""
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise FileExistsError(f"{folder} is not empty; choose another folder")


@contextmanager
def new_folder(folder: Path) -> Iterator[Path]:
    """Give an empty folder to write to, which becomes `folder` when the block ends without error.

    Raises FileExistsError unless `folder` is new or empty. After an error nothing is left behind.
    """
    check_empty(folder)
    folder.parent.mkdir(parents=True, exist_ok=True)
    partial = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", dir=folder.parent))
    try:
        yield partial
        partial.chmod(0o777 & ~_umask())
        partial.replace(folder)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
