"""What commands show while they work: a bar on a terminal, plain lines in files and pipes."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from ultrafastbert.cli.lines import Lines, ticking
from ultrafastbert.runs.status import Show, show_nothing

if TYPE_CHECKING:
    from rich.console import Console


@contextmanager
def showing(kept: str | None = None, answers: bool = False) -> Iterator[Show]:
    """Show the progress of a command.

    Args:
        kept: where its results go, such as `rows: PATH`.
        answers: whether it usually answers in seconds: then a pipe gets lines only if it does not.
    """
    from rich.console import Console

    from ultrafastbert.runs.run_folder import is_main_process

    console = Console(file=sys.stderr)
    if not is_main_process():
        yield show_nothing
    elif sys.stderr.isatty() and console.is_interactive:
        with _bar(console, kept) as show:
            yield show
    else:
        with ticking(Lines(kept, answers)) as lines:
            yield lines


@contextmanager
def showing_cases(what: str, kept: str | None) -> Iterator[Callable[[int, int, str], None]]:
    """Give what shows the case of a benchmark: how many are done, of how many, and its name."""
    with showing(kept) as show:
        show("measuring the machine")
        yield lambda done, total, label: show(what, done, total, label, "cases")


@contextmanager
def _bar(console: "Console", kept: str | None) -> Iterator[Show]:
    """Show a bar for what is being done, with a note, the time it has taken and the time left."""
    from rich.markup import escape
    from rich.progress import (
        BarColumn,
        Progress,
        SpinnerColumn,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.percentage:>3.0f} %"),
        TextColumn("{task.fields[note]}"),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console) as progress:
        if kept:
            console.print(kept, markup=False, highlight=False)
        stage, bar = "starting", progress.add_task("starting", total=None, note="")

        def show(
            what: str, done: int = 0, total: int | None = None, note: str = "", unit: str = ""
        ) -> None:
            nonlocal stage, bar
            if what != stage:  # a bar of its own, for the time left depends on the speed
                progress.remove_task(bar)
                stage, bar = what, progress.add_task(escape(what), total=total, note="")
            progress.update(bar, completed=done, total=total, note=escape(note))

        yield show
