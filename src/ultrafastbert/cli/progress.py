"""What commands show while they work: a bar on a terminal, plain lines in files and pipes."""

import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Protocol

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeRemainingColumn
from transformers import TrainerCallback

from ultrafastbert.cli.streams import say
from ultrafastbert.runs.run_folder import is_main_process

# A line at least this often: often enough to see that work goes on, few enough to read.
LINE_SECONDS = 15.0
# Lines of the first moments wait, so that a command which fails at once prints its error alone.
HELD_SECONDS = 2.0
TICK_SECONDS = 1.0


class Show(Protocol):
    """Shows what is being done, how much of it is, of how much (if known), and a note."""

    def __call__(self, what: str, done: int = 0, total: int | None = None, note: str = "") -> None:
        """Show it."""


@contextmanager
def showing(kept: str | None = None) -> Iterator[Show]:
    """Show the progress of a command; `kept` says where its results go, such as `rows: PATH`."""
    console = Console(file=sys.stderr)
    if not is_main_process():
        yield _show_nothing
    elif sys.stderr.isatty() and console.is_interactive:
        with _bar(console, kept) as show:
            yield show
    else:
        with _ticking(Lines(kept)) as show:
            yield show


def _show_nothing(what: str, done: int = 0, total: int | None = None, note: str = "") -> None:
    """For the processes that torchrun starts beside the main one."""


@contextmanager
def _bar(console: Console, kept: str | None) -> Iterator[Show]:
    """Show a bar for what is being done, with a note and the time left."""
    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.percentage:>3.0f} %"),
        TextColumn("{task.fields[note]}"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console) as progress:
        if kept:
            console.print(kept, markup=False, highlight=False)
        stage, bar = "starting", progress.add_task("starting", total=None, note="")

        def show(what: str, done: int = 0, total: int | None = None, note: str = "") -> None:
            nonlocal stage, bar
            if what != stage:  # a bar of its own, for the time left depends on the speed
                progress.remove_task(bar)
                stage, bar = what, progress.add_task(escape(what), total=total, note=note)
            progress.update(bar, completed=done, total=total, note=note)

        yield show


@dataclass
class _Stage:
    what: str
    started: float
    first: int = 0  # how much was done when it started: a run that was cut off goes on
    done: int = 0
    total: int | None = None
    note: str = ""

    def line(self, now: float) -> str:
        """Return how far it has come: what, 3/20 (15 %), speed, time left, note."""
        seconds = now - self.started
        rate = (self.done - self.first) / seconds if seconds > 0 else 0.0
        parts = [self._amount() or f"for {_duration(seconds)}"]
        if rate > 0:
            parts.append(f"{rate:,.0f}/s" if rate >= 10 else f"{rate:.2g}/s")
            if self.total and self.total > self.done:
                parts.append(f"{_duration((self.total - self.done) / rate)} left")
        return f"{self.what}: " + ", ".join(filter(None, [*parts, self.note]))

    def first_line(self) -> str:
        """Return what it is, and of how much, where that is known."""
        return ": ".join(filter(None, [self.what, self._amount()]))

    def _amount(self) -> str:
        if self.total is not None and self.total > 1:  # of one thing, nothing is half done
            return f"{self.done:,}/{self.total:,} ({100 * self.done / self.total:.0f} %)"
        return f"{self.done:,} so far" if self.done else ""


@dataclass
class Lines:
    """Plain lines: one when a stage begins, and one every 15 seconds while it goes on.

    Attributes:
        kept: where results go, said at the start.
        write: prints a line.
        now: the clock, in seconds.
    """

    kept: str | None = None
    write: Callable[[str], None] = say
    now: Callable[[], float] = time.monotonic
    held: list[str] | None = field(default_factory=list)  # lines that wait; None once they do not

    def __post_init__(self) -> None:
        self.lock = threading.Lock()
        self.started = self.written = self.now()
        self.stage = _Stage("starting", self.started)
        self._line("; ".join(filter(None, ["starting", self.kept])))

    def __call__(self, what: str, done: int = 0, total: int | None = None, note: str = "") -> None:
        """Note how far the work has come; a line if it is another stage than before."""
        what = " ".join(what.split())
        with self.lock:
            if what != self.stage.what:
                self.stage = _Stage(what, self.now(), done, done, total, note)
                self._line(self.stage.first_line())
            self.stage.done, self.stage.total, self.stage.note = done, total, note

    def tick(self) -> None:
        """Print what is due by time."""
        with self.lock:
            now = self.now()
            if now - self.started >= HELD_SECONDS:
                self._release()
            if now - self.written >= LINE_SECONDS:
                self._line(self.stage.line(now))

    def end(self) -> None:
        """Print the time that all took."""
        with self.lock:
            self._release()
            self._line("done")

    def _line(self, text: str) -> None:
        self.written = self.now()
        line = f"{_duration(self.written - self.started)} {text}"
        if self.held is None:
            self.write(line)
        else:
            self.held.append(line)

    def _release(self) -> None:
        held, self.held = self.held or (), None
        for line in held:
            self.write(line)


@contextmanager
def _ticking(lines: Lines) -> Iterator[Lines]:
    """Print lines that are due by time from a thread, until the work ends."""
    ended = threading.Event()

    def tick() -> None:
        while not ended.wait(TICK_SECONDS):
            lines.tick()

    thread = threading.Thread(target=tick, name="progress lines", daemon=True)
    thread.start()
    try:
        yield lines
    finally:
        ended.set()
        thread.join()
    lines.end()


def _duration(seconds: float) -> str:
    return str(timedelta(seconds=int(seconds)))


class TrainingProgress(TrainerCallback):
    """Shows a training run: loss, tokens per second, time left."""

    def __init__(self, show: Show, name: str):
        self.show, self.name, self.note = show, name, ""

    def on_train_begin(self, args, state, control, **kwargs) -> None:
        """Set the number of steps."""
        self.started = (time.monotonic(), None)
        self._show(state)

    def on_step_end(self, args, state, control, **kwargs) -> None:
        """Advance by a step."""
        self._show(state)

    def on_log(self, args, state, control, logs=None, **kwargs) -> None:
        """Show the loss and the speed since training began."""
        if not logs or "loss" not in logs:
            return
        now = time.monotonic()
        start, first = self.started
        if first is None:
            self.started, rate = (now, logs["tokens"]), ""
        else:
            rate = f", {(logs['tokens'] - first) / max(now - start, 1e-9):,.0f} tokens/s"
        self.note = f"loss {logs['loss']:.3f}{rate}"
        self._show(state)

    def on_train_end(self, args, state, control, **kwargs) -> None:
        """Tell that the model is validated now."""
        self.show(f"validating {self.name}")

    def _show(self, state) -> None:
        self.show(f"pretraining {self.name}", state.global_step, state.max_steps, self.note)
