"""Where results go: paths are looked at before hours of work depend on them.

Links are followed, also those whose target is not there yet.
"""

import os
from collections.abc import Iterable
from pathlib import Path


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
