"""How long jobs say what they are doing."""

from collections.abc import Callable

# What is being done, how much of it, and of how much, where that is known.
Status = Callable[[str, int, int | None], None]
