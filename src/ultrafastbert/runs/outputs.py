"""Where results go: paths are looked at before hours of work depend on them.

Links are followed, also those whose target is not there yet.
"""

import errno
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO


def real(path: str | Path) -> Path:
    """Return an absolute path without links, whether it exists or not."""
    return Path(os.path.realpath(path))


def make_folder(folder: str | Path) -> list[Path]:
    """Make a folder with its parents; return those that are new, the innermost first.

    Raises OSError where a file is in the way or the file system refuses.
    """
    target = real(folder)
    new = [path for path in (target, *target.parents) if not path.exists()]
    try:
        target.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        message = f"{error.strerror}; choose another folder"
        raise OSError(error.errno, message, str(folder)) from error
    return new


def remove_empty(folders: Iterable[Path]) -> None:
    """Remove folders that are empty, the innermost first, up to the first that is not."""
    for folder in folders:
        if not folder.is_dir() or any(folder.iterdir()):
            return
        folder.rmdir()


def check_folder(folder: str | Path) -> None:
    """Raise OSError where files cannot be written to a folder, which need not exist yet."""
    target = real(folder)
    if target.exists() and not target.is_dir():
        raise NotADirectoryError(f"{folder} is a file; name a folder")
    _check_access(folder, target)


def check_file(path: str | Path) -> None:
    """Raise OSError where a file cannot be written; its parents need not exist yet."""
    target = real(path)
    if target.is_dir():
        raise IsADirectoryError(f"{path} is a folder; name a file")
    _check_access(path, target)


def _check_access(path: str | Path, target: Path) -> None:
    existing = next(place for place in (target, *target.parents) if place.exists())
    if existing != target and not existing.is_dir():
        raise NotADirectoryError(f"{path} lies below {existing}, a file; choose another path")
    if not os.access(existing, os.W_OK):
        raise PermissionError(f"{path} cannot be written: {existing} is read-only")


@contextmanager
def replacing(path: str | Path) -> Iterator[IO[bytes]]:
    """Give a file to write to, whose content is in `path` when the block ends without error.

    What was there stays until then. Raises OSError, which names `path`, where the disk is full.
    """
    target = real(path)
    is_plain = not target.exists() or target.is_file()  # and no device, such as /dev/null
    partial = target.with_name(f".{target.name}.partial") if is_plain else target
    try:
        with partial.open("wb") as file:
            yield file
            file.flush()
            if is_plain:
                os.fsync(file.fileno())
        if is_plain:
            partial.replace(target)
    except OSError as error:
        message = f"{error.strerror or error}; free some room, or choose another place"
        # numpy knows no number of a write that was cut short.
        raise OSError(error.errno or errno.ENOSPC, message, str(path)) from error
    finally:
        if is_plain:
            partial.unlink(missing_ok=True)
