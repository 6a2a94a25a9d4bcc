"""Which member of the family goes into which layer: the best trade of error against time, exactly.

Errors and times are sums over layers, so an allocation that another one of the first layers beats
in both can be no part of a best one of all layers: layer by layer, only the rest is kept.
"""

from bisect import bisect_right
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

Members = tuple[str | None, ...]  # of each layer; None keeps the original block


class Allocation(NamedTuple):
    """Members of the layers, with their summed time and error.

    Attributes:
        time_ns: whole nanoseconds, so that sums of the same members are the same in any order.
        error: of any unit.
        members: one a layer.
    """

    time_ns: int
    error: float
    members: Members


def pareto_front(
    errors: Sequence[Mapping[str | None, float]], times_ns: Mapping[str | None, int]
) -> list[Allocation]:
    """Return the allocations that no other one beats in time or error without losing in the other.

    Args:
        errors: of each layer, by member.
        times_ns: of a layer, by member.

    They come from the fastest to the one of the least error.
    """
    front = [Allocation(0, 0.0, ())]
    for layer in errors:
        front = _undominated(
            Allocation(time + times_ns[member], total + error, (*members, member))
            for time, total, members in front
            for member, error in layer.items()
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
