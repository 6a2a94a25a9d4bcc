"""What commands show while they work, on standard error: plain lines, in place on a terminal."""

import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import timedelta

# Often enough to see that work goes on, few enough to read.
LINE_SECONDS = 10.0
TERMINAL_SECONDS = 0.5
IN_PLACE = "\r\033[K"  # to the start of the line, whose rest is deleted


def say(text: str, end: str = "\n") -> None:
    """Print to standard error; where that cannot be written, the work goes on."""
    with suppress(OSError):
        print(text, file=sys.stderr, end=end, flush=True)


class Progress:
    """Knows how far a job has come; what is called with that, and what tells it."""

    def __init__(self, now: Callable[[], float] = time.monotonic):
        self.now, self.started = now, now()
        self.state: tuple[str, int, int | None] = ("loading the model", 0, None)

    def __call__(self, what: str, done: int = 0, total: int | None = None) -> None:
        """Note what is being done, how much is done, and of how much."""
        self.state = what, done, total

    def line(self) -> str:
        """Return it: `0:00:20 encoding texts: 300/900, 15/s, 0:00:40 left`."""
        what, done, total = self.state
        seconds = self.now() - self.started
        parts = []
        if done:
            parts.append(f"{done:,}/{total:,}" if total else f"{done:,}")
            parts.append(f"{done / seconds:,.3g}/s" if seconds else "")
        if done and total and seconds:
            parts.append(f"{_duration(seconds * (total - done) / done)} left")
        return f"{_duration(seconds)} {what}" + (": " if parts else "") + ", ".join(parts)


@contextmanager
def showing() -> Iterator[Progress]:
    """Give what is told how far a command has come; it prints nothing if that answers soon."""
    progress, ended = Progress(), threading.Event()
    is_terminal = sys.stderr.isatty()

    def tell() -> None:
        is_first = True
        while not ended.wait(LINE_SECONDS if is_first or not is_terminal else TERMINAL_SECONDS):
            say(IN_PLACE + progress.line() if is_terminal else progress.line(), _end(is_terminal))
            is_first = False
        if is_terminal and not is_first:
            say(IN_PLACE, "")

    thread = threading.Thread(target=tell, name="progress", daemon=True)
    thread.start()
    try:
        yield progress
    finally:
        ended.set()
        thread.join()


def _end(is_terminal: bool) -> str:
    return "" if is_terminal else "\n"


def _duration(seconds: float) -> str:
    return str(timedelta(seconds=int(seconds)))
