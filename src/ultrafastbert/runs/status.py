"""How jobs that take long say what they are doing."""

from collections.abc import Callable

# What is being done, how much of it, and of how much, where that is known.
Status = Callable[[str, int, int | None], None]
Count = Callable[[int], None]  # how much is done


def counting(on_status: Status, what: str, total: int) -> Count:
    """Return the function that reports how much of one thing is done."""
    return lambda done: on_status(what, done, total)
