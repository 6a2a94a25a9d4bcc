"""Timing of processes in turn, round after round (A B C A B C ...)."""

import statistics
import time
from collections.abc import Callable, Hashable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

from ultrafastbert.bench.timing import MIN_ROUNDS, Timing

# A turn this long has the tail of a latency in it, too.
TURN_SECONDS = 0.1
# Before it, an engine finds its threads asleep and the caches as others left them. A call as long
# as this does not notice.
COLD_SECONDS = 0.5

Name = TypeVar("Name", bound=Hashable)
# Calls to time, the number of the first, calls before them -> see `worker.turn`
Turn = Callable[[int, int, int], dict[str, Any]]


@dataclass
class Calls:
    """What was timed of one process.

    Attributes:
        calls: of a turn.
        rounds: the seconds of each call, by turns.
        processor_s: of all threads of the process.
        peak_bytes: most memory resident so far.
    """

    calls: int = 1
    rounds: list[list[float]] = field(default_factory=list)
    processor_s: float = 0.0
    peak_bytes: int = 0

    @property
    def timing(self) -> Timing:
        """Mean seconds of a call, one number a round."""
        return Timing(tuple(map(statistics.mean, self.rounds)), self.calls)

    @property
    def seconds(self) -> list[float]:
        """The seconds of every call."""
        return [seconds for turn in self.rounds for seconds in turn]

    @property
    def cores_used(self) -> float:
        """Processor time over wall time."""
        return self.processor_s / sum(self.seconds)

    def take(self, turn: Turn) -> None:
        """Take a turn."""
        warm_up = not self.rounds or statistics.median(self.rounds[-1]) < COLD_SECONDS
        answer = turn(self.calls, self.calls * len(self.rounds) + 1, int(warm_up))
        self.rounds.append(answer["seconds"])
        self.processor_s += answer["processor_s"]
        self.peak_bytes = answer["peak_bytes"]


def take_turns(turns: Mapping[Name, Turn], seconds: float) -> dict[Name, Calls]:
    """Time processes in turn, so many seconds for each.

    All take `MIN_ROUNDS` rounds; then those that had not used up their share go on together.
    """
    once = {name: _once(turn) for name, turn in turns.items()}
    found = {name: Calls(max(1, round(TURN_SECONDS / once[name]))) for name in turns}

    def take(names: Iterable[Name]) -> None:
        for name in names:
            found[name].take(turns[name])

    for _ in range(MIN_ROUNDS):
        take(turns)
    quick = [name for name in turns if sum(found[name].seconds) < seconds]
    end = time.perf_counter() + seconds * len(quick)
    while quick and time.perf_counter() < end:
        take(quick)
    return found


def _once(turn: Turn) -> float:
    """Return about how long a call takes, in seconds."""
    (seconds,) = turn(1, 1, 0)["seconds"]
    return seconds if seconds > COLD_SECONDS else min(turn(3, 1, 0)["seconds"])
