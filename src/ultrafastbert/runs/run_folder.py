"""A folder that holds one run: never overwritten, continued only with the same settings.

A run that learned nothing yet has nothing to lose: its folder is free.
"""

import json
import os
import shutil
import tempfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from itertools import product
from pathlib import Path
from typing import Any

from ultrafastbert.rows import kinds_in
from ultrafastbert.runs import locks
from ultrafastbert.runs.outputs import make_folder, real, remove_empty, replacing

# Files of settings, one for each kind of run.
RUNS = ("run.json", "convert.json", "sweep.json", "quickstart.json")
ROWS = "rows.jsonl"
# What is worth keeping: results, whole checkpoints, and blocks that are trained ...
RESULTS = (
    "config.json", "*.safetensors", ROWS, "report.md", "checkpoints/*/complete",
    "work/*.safetensors",
)  # fmt: skip
# ... in the folder itself, and in those of a quickstart's models.
QUICKSTART, MODELS = "quickstart.json", ("model/", "controls/*/")
# Rows of what is timed before anything is learned.
TIMED = ("convert_time",)
# Of settings; those of runs that knew their inputs by path and time have none.
FORMAT = 1
# What a run without results may have left.
UNFINISHED = ("work", "checkpoints")
# Folders in which runs delete and overwrite.
WRITTEN = (*UNFINISHED, "controls")

LOCK = ".ultrafastbert.lock"
PARTIAL = ".ultrafastbert-partial-"
# What a folder may hold that counts as empty: the last is in every new ext4 file system.
NOT_COUNTED = (LOCK, "lost+found")


def is_main_process() -> bool:
    """Return whether this process writes results: the first of those that torchrun starts."""
    return os.environ.get("RANK", "0") == "0"


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Hold a folder, which is made where it is not there, for one process at a time.

    The main process holds it for the others; what it calls may hold it again. A folder that is new
    and still empty is removed afterwards.

    Raises BlockingIOError while another process holds it, OSError where it cannot be written to.
    """
    new = make_folder(folder)
    if not is_main_process():
        yield
        return
    in_use = f"{folder} is in use by another process; wait until it ends, or choose another folder"
    try:
        with locks.locked(real(folder) / LOCK, in_use):
            yield
    finally:
        remove_empty(new)


def result_of(folder: Path) -> Path | None:
    """Return a file that a run should not lose, or None where a folder is free."""
    models = ("", *MODELS) if (folder / QUICKSTART).exists() else ("",)
    patterns = (model + name for model, name in product(models, RESULTS))
    found = (path for pattern in patterns for path in folder.glob(pattern))
    return next((path for path in found if path.name != ROWS or _has_learned(path)), None)


def _has_learned(path: Path) -> bool:
    return any(kind not in TIMED for kind in kinds_in(path))


def check(folder: Path, file_name: str, resume: bool) -> None:
    """Raise FileExistsError if a run must not write to a folder.

    That is when the folder holds results of a run (its settings are in `file_name`) and `resume` is
    not set, or anything of something else where the run deletes and overwrites. The main process
    looks, before it writes there.
    """
    if not is_main_process():
        return
    _check_owned(folder)
    if (found := result_of(folder)) is None:
        return
    if not (folder / file_name).exists():
        name = found.relative_to(folder)
        raise FileExistsError(f"{folder} holds {name} of something else; choose another folder")
    if not resume:
        raise FileExistsError(
            f"{folder} holds a run already; continue it with --resume or choose another folder"
        )


def _check_owned(folder: Path) -> None:
    """Raise FileExistsError where a folder has what runs delete, but no settings of a run."""
    settings = [folder / name for name in RUNS if (folder / name).exists()]
    for path in settings:
        if "format" not in _read(path):
            raise FileExistsError(
                f"{path} is of an earlier version, which knew inputs by path and time, or of "
                "something else; choose another folder"
            )
    for path in (folder / name for name in WRITTEN):
        if not settings and path.exists() and (not path.is_dir() or any(path.iterdir())):
            raise FileExistsError(f"{path} is of something else; choose another folder")


def _read(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def check_inputs(folder: Path, *inputs: str | Path) -> None:
    """Raise ValueError for inputs that lie where a run in a folder deletes and overwrites."""
    for path in inputs:
        for name in WRITTEN:
            if real(path).is_relative_to(real(folder / name)):
                raise ValueError(
                    f"{path} lies in {folder / name}, where the run writes; choose another folder "
                    "for one of them"
                )


def claim(folder: Path, file_name: str, settings: dict[str, Any], resume: bool) -> None:
    """Take a folder for a run with these settings.

    The settings are kept in the folder's file `file_name`, which the main process writes. They take
    the place of others under which nothing was learned.
    Raises FileExistsError as `check`, and ValueError, naming what differs, if the folder holds
    results of a run with other settings.
    """
    if not is_main_process():
        return
    check(folder, file_name, resume)
    settings = json.loads(json.dumps({**settings, "format": FORMAT}))
    path = folder / file_name
    before = _read(path) if path.exists() else {}
    changed = sorted(key for key in settings if settings[key] != before.get(key))
    if not changed:
        return
    if result_of(folder) is not None:
        raise ValueError(
            f"{folder} holds a run that differs in {', '.join(changed)}; choose another folder"
        )
    make_folder(folder)
    _clear(folder)
    with replacing(path) as file:
        file.write((json.dumps(settings, indent=2) + "\n").encode())


@contextmanager
def run_in(
    folder: Path, file_name: str, resume: bool, inputs: Iterable[str | Path] = ()
) -> Iterator[Callable[[dict[str, Any]], None]]:
    """Hold a folder for a run, and give the function that claims it for settings.

    The folder and the inputs are looked at first: nothing is lost by a wrong name. Settings, with
    digests of all inputs, are claimed once it is known that they can work.

    Args:
        folder: where results go.
        file_name: of the settings, in the folder.
        resume: whether a run of the same settings may be continued.
        inputs: paths that the run reads.

    Raises FileExistsError, ValueError and OSError as `locked`, `check`, `check_inputs` and `claim`.
    """
    with locked(folder):
        check(folder, file_name, resume)
        check_inputs(folder, *inputs)
        yield lambda settings: claim(folder, file_name, settings, resume)


def _clear(folder: Path) -> None:
    """Remove what a run without results left in a folder: it read other inputs."""
    runs = [folder / name for name in RUNS if (folder / name).exists()]
    if not runs:
        return
    for name in UNFINISHED:
        shutil.rmtree(folder / name, ignore_errors=True)
    for path in (*runs, folder / ROWS):
        path.unlink(missing_ok=True)


def check_empty(folder: Path) -> None:
    """Raise FileExistsError unless a folder is new or empty."""
    if not folder.exists():
        return
    if not folder.is_dir():
        raise FileExistsError(f"{folder} is a file; choose another folder")
    names = (path.name for path in folder.iterdir())
    if any(name not in NOT_COUNTED and not name.startswith(PARTIAL) for name in names):
        raise FileExistsError(f"{folder} is not empty; choose another folder")


@contextmanager
def new_folder(folder: Path) -> Iterator[Path]:
    """Give an empty folder to write to, whose content is in `folder` when the block ends.

    It lies in `folder`, so that this one may be a link, a mounted volume or the working directory.
    Raises FileExistsError unless `folder` is new or empty, and as `locked`. After an error nothing
    is left behind; what a killed process left is removed.
    """
    check_empty(folder)
    with locked(folder):
        check_empty(folder)
        target = real(folder)
        for left in target.glob(f"{PARTIAL}*"):
            shutil.rmtree(left, ignore_errors=True)
        partial = Path(tempfile.mkdtemp(prefix=PARTIAL, dir=target))
        try:
            yield partial
            check_empty(folder)
            _move_content(partial, target)
        finally:
            shutil.rmtree(partial, ignore_errors=True)


def _move_content(source: Path, target: Path) -> None:
    """Move all that a folder holds to another one on the same file system, or nothing."""
    # The file that makes a folder one of a model comes last.
    paths = sorted(source.iterdir(), key=lambda path: path.name == "config.json")
    try:
        for path in paths:
            path.replace(target / path.name)
    finally:
        if any(source.iterdir()):  # cut off
            for path in paths:
                if not path.exists():
                    (target / path.name).replace(path)
