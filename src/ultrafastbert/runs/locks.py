"""Locks between processes, on a file; one whose owner is dead is free."""

import errno
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import FileLock, Timeout


@contextmanager
def locked(path: Path, in_use: str | None = None) -> Iterator[None]:
    """Hold the lock of a file, which is there meanwhile; a thread may take it again.

    Where another one holds it, wait, or with `in_use` raise BlockingIOError with that message.
    Raises OSError where the file cannot be made or the file system has no locks.
    """
    lock = FileLock(path, is_singleton=True)  # the same object for the same path: taken again
    try:
        lock.acquire(timeout=-1 if in_use is None else 0)
    except Timeout:
        raise BlockingIOError(in_use) from None
    except NotImplementedError as error:
        message = "the file system has no locks; choose a folder on another one"
        raise OSError(errno.ENOLCK, message, str(path.parent)) from error
    except OSError as error:
        message = f"{error.strerror}; choose another folder"
        raise OSError(error.errno, message, str(path.parent)) from error
    try:
        yield
    finally:
        if lock.lock_counter == 1:
            with suppress(PermissionError):  # of systems that keep open files
                path.unlink(missing_ok=True)
        lock.release()
