"""Wall-clock timing of several implementations in turn, so that all meet the same machine."""

import os
import statistics
import time
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TypeVar

import psutil
import torch

from ultrafastbert.rows.row import Spread

# A turn this long is far above the clock's resolution. So is the untimed half before it, in which
# an implementation finds the caches as others left them: enough to read tens of megabytes.
TURN_SECONDS = 10e-3
MAX_CALLS = 4096
# A call as long as this does not notice that the implementation before it has emptied the caches.
COLD_SECONDS = 50e-3
CALIBRATION_CALLS = 3
# Fewer rounds have no spread; more than this many change no digit that is printed.
MIN_ROUNDS = 3
MAX_ROUNDS = 1000

Name = TypeVar("Name", bound=Hashable)


@dataclass(frozen=True)
class Timing:
    """Seconds per call of one implementation, one number a round, and the calls of each turn."""

    seconds: tuple[float, ...]
    calls: int

    @property
    def median(self) -> float:
        """Median over the rounds."""
        return statistics.median(self.seconds)

    @property
    def low(self) -> float:
        """10th percentile."""
        return quantile(self.seconds, 0.1)

    @property
    def high(self) -> float:
        """90th percentile."""
        return quantile(self.seconds, 0.9)

    def speedup_over(self, other: "Timing") -> Spread:
        """Return how many times faster this is than `other`: 10th percentile, median, 90th.

        The ratio is taken round by round, so that what slows the whole machine cancels out. Where
        the slower one had fewer rounds, the medians are compared: its first rounds would meet only
        the first, cold ones of the quicker one.
        """
        if len(self.seconds) != len(other.seconds):
            return Spread(other.low / self.high, other.median / self.median, other.high / self.low)
        ratios = [b / a for a, b in zip(self.seconds, other.seconds, strict=True)]
        return Spread(quantile(ratios, 0.1), statistics.median(ratios), quantile(ratios, 0.9))


def quantile(values: list[float] | tuple[float, ...], share: float) -> float:
    """Return the quantile of a few values, linear between neighbours."""
    ordered = sorted(values)
    place = share * (len(ordered) - 1)
    below = int(place)
    above = min(below + 1, len(ordered) - 1)
    return ordered[below] + (place - below) * (ordered[above] - ordered[below])


def interleave(
    runs: Mapping[Name, Callable[[int], object]],
    seconds: float = 1.0,
    before: Callable[[], object] | None = None,
) -> dict[Name, Timing]:
    """Time implementations in turn, round after round (A B C A B C ...), within a budget.

    A run is called with a number that grows with every call, to choose among inputs. A turn is as
    many timed calls as fill `TURN_SECONDS` after as many that are not timed, unless calls are long.
    With `before`, such as emptying the caches, a turn is one timed call with `before` ahead of it.
    All take `MIN_ROUNDS` rounds; then those that had not used up their equal share of `seconds` go
    on for so long, together.
    """
    once = {name: _shortest(run) for name, run in runs.items()}
    calls = {name: 1 if before else _n_calls(once[name]) for name in runs}
    times: dict[Name, list[float]] = {name: [] for name in runs}

    def take_turns(names: Iterable[Name], n_round: int) -> None:
        for name in names:
            warm_up = before is None and once[name] < COLD_SECONDS
            times[name].append(_turn(runs[name], calls[name], n_round, warm_up, before))

    for n_round in range(MIN_ROUNDS):
        take_turns(runs, n_round)
    share = seconds / max(1, len(runs))
    quick = [name for name in runs if MIN_ROUNDS * once[name] <= share]
    end = time.perf_counter() + seconds
    for n_round in range(MIN_ROUNDS, MAX_ROUNDS):
        if time.perf_counter() >= end:
            break
        take_turns(quick, n_round)
    return {name: Timing(tuple(times[name]), calls[name]) for name in runs}


def _shortest(run: Callable[[int], object]) -> float:
    """Warm up, and return the shortest of a few calls, in seconds."""
    shortest = float("inf")
    for number in range(CALIBRATION_CALLS + 1):
        started = time.perf_counter()
        run(number)
        shortest = min(shortest, time.perf_counter() - started)
        if shortest > COLD_SECONDS:
            break
    return shortest


def _n_calls(once: float) -> int:
    return max(1, min(MAX_CALLS, round(TURN_SECONDS / max(once, 1e-9))))


def _turn(
    run: Callable[[int], object],
    calls: int,
    n_round: int,
    warm_up: bool,
    before: Callable[[], object] | None,
) -> float:
    first = n_round * calls
    if warm_up:
        for number in range(first - calls, first):
            run(number)
    if before:
        before()
    started = time.perf_counter()
    for number in range(first, first + calls):
        run(number)
    return (time.perf_counter() - started) / calls


class OtherLoad:
    """How much of the machine other programs use meanwhile: a measurement's grain of salt.

    Args:
        own: ids of processes that belong to the measurement, beside this one.
    """

    def __init__(self, own: Iterable[int] = ()) -> None:
        self.own = [psutil.Process(), *map(psutil.Process, own)]
        self.started = self._seconds()

    def _seconds(self) -> tuple[float, float]:
        """Return seconds by the wall clock, and of the processors' time spent by others."""
        machine, own = psutil.cpu_times(), [process.cpu_times() for process in self.own]
        busy = machine.user + machine.system + getattr(machine, "nice", 0.0)
        return time.perf_counter(), busy - sum(each.user + each.system for each in own)

    def share(self) -> float:
        """Return the share of all processors' time, 0 to 1, since this object was made."""
        now, others = self._seconds()
        elapsed = max(now - self.started[0], 1e-9) * (psutil.cpu_count() or 1)
        return min(1.0, max(0.0, (others - self.started[1]) / elapsed))


@contextmanager
def use_threads(threads: int) -> Iterator[None]:
    """Make PyTorch compute with so many threads, and restore the number afterwards."""
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def check_threads(threads: tuple[int, ...]) -> None:
    """Raise ValueError unless every number of threads is between 1 and the machine's cores."""
    cores = os.cpu_count() or 1
    for number in threads:
        if not 1 <= number <= cores:
            raise ValueError(f"threads={number} must be between 1 and this machine's {cores} cores")


def default_threads() -> tuple[int, ...]:
    """Return one thread and as many as PyTorch uses now."""
    return tuple(sorted({1, torch.get_num_threads()}))
