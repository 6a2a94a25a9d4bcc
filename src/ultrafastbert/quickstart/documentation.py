"""The text of quickstarts: what the installed libraries document."""

from collections.abc import Iterator

from ultrafastbert.data import docstrings
from ultrafastbert.runs.status import Show


def documentation(on_status: Show) -> Iterator[docstrings.LibraryText]:
    """Yield the documentation strings of the installed libraries, and report each library."""
    what, n_libraries = "reading the libraries' documentation", len(docstrings.DEFAULT_LIBRARIES)
    n_done = 0

    def progress(library: str, n_files: int) -> None:
        nonlocal n_done
        n_done += 1
        on_status(what, n_done, n_libraries)

    on_status(what, 0, n_libraries)
    yield from docstrings.harvest(on_progress=progress)
