"""Progress as plain lines, for files and pipes: never half a minute without one."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from ultrafastbert.cli.streams import say
from ultrafastbert.runs.status import duration

# A line at least this often: often enough to see that work goes on, few enough to read.
LINE_SECONDS = 15.0
# A stage says how long it will take once it has run for so long.
ESTIMATE_SECONDS = 5.0
# Lines of the first moments wait, so that a command which fails at once prints its error alone.
HELD_SECONDS = 2.0
# Commands that usually answer in seconds say nothing unless they take longer.
ANSWER_SECONDS = 10.0
TICK_SECONDS = 1.0


@dataclass
class _Stage:
    what: str
    started: float
    first: int = 0  # how much was done when it started: a run that was cut off goes on
    done: int = 0
    total: int | None = None
    note: str = ""
    unit: str = ""
    estimated: bool = False

    def line(self, now: float) -> str:
        """Return how far it has come: what, 3/20 steps (15 %), speed, time left, note."""
        rate, left = self.rate(now), self.seconds_left(now)
        parts = [self._amount() or f"for {duration(now - self.started)}"]
        if rate > 0:
            amount = f"{rate:,.0f}" if rate >= 10 else f"{rate:.2g}"
            parts.append(f"{amount} {self.unit}/s" if self.unit else f"{amount}/s")
        if left is not None:
            parts.append(f"{duration(left)} left")
        return f"{self.what}: " + ", ".join(filter(None, [*parts, self.note]))

    def rate(self, now: float) -> float:
        """Return how much is done in a second."""
        seconds = now - self.started
        return (self.done - self.first) / seconds if seconds > 0 else 0.0

    def seconds_left(self, now: float) -> float | None:
        """Return the time that the rest takes at this rate; None where that is not known."""
        rate = self.rate(now)
        if rate <= 0 or not self.total or self.total <= self.done:
            return None
        return (self.total - self.done) / rate

    def first_line(self) -> str:
        """Return what it is, and of how much, where that is known."""
        return ": ".join(filter(None, [self.what, self._amount()]))

    def _amount(self) -> str:
        unit = f" {self.unit}" if self.unit else ""
        if self.total is not None and self.total > 1:  # of one thing, nothing is half done
            return f"{self.done:,}/{self.total:,}{unit} ({100 * self.done / self.total:.0f} %)"
        return f"{self.done:,}{unit} so far" if self.done else ""


@dataclass
class Lines:
    """A line when a stage begins, one when its time is known, and one every 15 seconds.

    A thread calls `tick`, so lines come while no step ends, too.

    Attributes:
        kept: where results go, said at the start.
        answers: whether the command usually answers in seconds.
        write: prints a line.
        now: the clock, in seconds.
    """

    kept: str | None = None
    answers: bool = False
    write: Callable[[str], None] = say
    now: Callable[[], float] = time.monotonic
    held: list[str] | None = field(default_factory=list)  # lines that wait; None once they do not

    def __post_init__(self) -> None:
        self.lock = threading.Lock()
        self.started = self.written = self.now()
        self.stage = _Stage("starting", self.started)
        self._line("; ".join(filter(None, ["starting", self.kept])))

    def __call__(
        self, what: str, done: int = 0, total: int | None = None, note: str = "", unit: str = ""
    ) -> None:
        """Note how far the work has come; a line if it is another stage than before."""
        what = " ".join(what.split())
        with self.lock:
            if what != self.stage.what:
                self.stage = _Stage(what, self.now(), done, done, total, note, unit)
                self._line(self.stage.first_line())
            stage = self.stage
            stage.done, stage.total, stage.note, stage.unit = done, total, note, unit

    def tick(self) -> None:
        """Print what is due by time."""
        with self.lock:
            now = self.now()
            if now - self.started >= (ANSWER_SECONDS if self.answers else HELD_SECONDS):
                self._release()
            if now - self.written >= LINE_SECONDS or self._estimates(now):
                self._line(self.stage.line(now))

    def end(self) -> None:
        """Print the time that all took, unless a command has answered soon."""
        with self.lock:
            if self.answers and self.held is not None:
                return
            self._release()
            self._line("done")

    def _estimates(self, now: float) -> bool:
        """Return whether the stage has run long enough, for the first time, to say its time."""
        stage = self.stage
        due = now - stage.started >= ESTIMATE_SECONDS and stage.seconds_left(now) is not None
        is_first, stage.estimated = due and not stage.estimated, stage.estimated or due
        return is_first

    def _line(self, text: str) -> None:
        self.written = self.now()
        line = f"{duration(self.written - self.started)} {text}"
        if self.held is None:
            self.write(line)
        else:
            self.held.append(line)

    def _release(self) -> None:
        held, self.held = self.held or (), None
        for line in held:
            self.write(line)


@contextmanager
def ticking(lines: Lines) -> Iterator[Lines]:
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
