"""What is wanted of a sweep."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Target:
    """Which model of a sweep is wanted, by one of two measures.

    Attributes:
        speedup: that of least error which is so many times faster than the original: one text of
            128 tokens, PyTorch, float32, one thread. Without either measure, half of the time that
            the fastest model saves is to be saved.
        explained: the fastest one that explains this fraction of the variance of the original's
            last hidden states (1 - FVU), on held-out text.

    Raises:
        ValueError: for both, a speed-up below 1, a fraction that is none.
    """

    speedup: float | None = None
    explained: float | None = None

    def __post_init__(self) -> None:
        if self.speedup is not None and self.explained is not None:
            given = f"speedup={self.speedup}, explained={self.explained}"
            raise ValueError(f"{given}: give one of them")
        if self.speedup is not None and self.speedup < 1:
            raise ValueError(f"speedup={self.speedup} must be at least 1")
        if self.explained is not None and not 0 < self.explained <= 1:
            raise ValueError(f"explained={self.explained} must be above 0 and at most 1")

    def speedup_among(self, fastest: float) -> float:
        """Return the speed-up that is wanted where the fastest model has that one."""
        return 2 / (1 + 1 / fastest) if self.speedup is None else self.speedup
