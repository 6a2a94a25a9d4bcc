"""Which candidate goes into which layer: the best trade of error against time, exactly.

Errors and times are sums over layers, so an allocation that another one of the first layers beats
in both can be no part of a best one of all layers: layer by layer, only the rest is kept.
"""

from bisect import bisect_right
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

Choice = tuple[str | None, ...]  # a candidate for each layer; None keeps the original


class Allocation(NamedTuple):
    """A choice with the sums of its times and errors.

    Attributes:
        time_ns: whole nanoseconds, so that sums of the same candidates are the same in any order.
        error: of any unit.
        choice: a candidate for each layer.
    """

    time_ns: int
    error: float
    choice: Choice


def pareto_front(
    errors: Sequence[Mapping[str | None, float]], times_ns: Mapping[str | None, int]
) -> list[Allocation]:
    """Return the allocations that no other one beats in time or error without losing in the other.

    Args:
        errors: of each layer, by candidate.
        times_ns: of a layer, by candidate.

    They come from the fastest to the one of the least error.
    """
    front = [Allocation(0, 0.0, ())]
    for layer in errors:
        front = _undominated(
            Allocation(time + times_ns[candidate], total + error, (*choice, candidate))
            for time, total, choice in front
            for candidate, error in layer.items()
        )
    return front


def _undominated(allocations: Iterable[Allocation]) -> list[Allocation]:
    kept: list[Allocation] = []
    for allocation in sorted(allocations, key=lambda a: (a.time_ns, a.error)):
        if not kept or allocation.error < kept[-1].error:
            kept.append(allocation)
    return kept


def within(front: Sequence[Allocation], time_ns: float) -> Allocation | None:
    """Return the allocation of least error that takes no longer, or None where all do."""
    n_within = bisect_right(front, time_ns, key=lambda a: a.time_ns)
    return front[n_within - 1] if n_within else None


def distinct(allocations: Sequence[Allocation]) -> list[Allocation]:
    """Return the first allocation of each choice.

    Their errors are no guide: sums of the same numbers differ in the last digits by the way they
    are summed.
    """
    found: dict[Choice, Allocation] = {}
    for allocation in allocations:
        found.setdefault(allocation.choice, allocation)
    return list(found.values())
