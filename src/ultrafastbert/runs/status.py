"""How jobs that take long say what they are doing."""

from datetime import timedelta
from typing import Protocol


class Count(Protocol):
    """Counts how much of one thing is done."""

    def __call__(self, done: int, note: str = "") -> None:
        """Count it; `note` is what else is worth a look, such as the loss."""


class Show(Protocol):
    """Shows what is being done."""

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


def count_nothing(done: int, note: str = "") -> None:
    """For jobs that nobody counts."""


def counting(on_status: Show, what: str, total: int, unit: str = "") -> Count:
    """Return the function that shows how much of one thing is done."""
    return lambda done, note="": on_status(what, done, total, note, unit)


def duration(seconds: float) -> str:
    """Return seconds as hours, minutes and seconds: 0:02:05."""
    return str(timedelta(seconds=int(seconds)))
