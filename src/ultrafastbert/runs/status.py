"""How jobs that take long say what they are doing."""

from collections.abc import Callable
from datetime import timedelta
from typing import Protocol

# What is being done, how much of it, and of how much, where that is known.
Status = Callable[[str, int, int | None], None]
Count = Callable[[int], None]  # how much is done


class Show(Protocol):
    """Shows what is being done; a `Status` that takes a note and a unit, too."""

    def __call__(
        self, what: str, done: int = 0, total: int | None = None, note: str = "", unit: str = ""
    ) -> None:
        """Show it.

        Args:
            what: the stage; another one starts a new line and a new clock.
            done, total: how much of it is done, of how much, where that is known.
            note: what else is worth a look, such as the loss.
            unit: what is counted, such as `steps` or `tokens`.
        """


def show_nothing(
    what: str, done: int = 0, total: int | None = None, note: str = "", unit: str = ""
) -> None:
    """For jobs that nobody watches."""


def counting(on_status: Status, what: str, total: int) -> Count:
    """Return the function that reports how much of one thing is done."""
    return lambda done: on_status(what, done, total)


def duration(seconds: float) -> str:
    """Return seconds as hours, minutes and seconds: 0:02:05."""
    return str(timedelta(seconds=int(seconds)))
