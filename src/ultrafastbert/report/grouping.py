"""Rows of one class out of all, grouped, each measurement once."""

from collections.abc import Callable, Hashable, Iterable
from typing import TypeVar

from ultrafastbert.rows.row import Row

T = TypeVar("T")
R = TypeVar("R", bound=Row)
K = TypeVar("K", bound=Hashable)


def of_kind(rows: Iterable[Row], kind: type[R]) -> list[R]:
    """Return the rows of a class."""
    return [row for row in rows if isinstance(row, kind)]


def group(rows: Iterable[T], key: Callable[[T], K]) -> dict[K, list[T]]:
    """Return rows by a key of theirs, in the order of first appearance."""
    groups: dict[K, list[T]] = {}
    for row in rows:
        groups.setdefault(key(row), []).append(row)
    return groups


def latest(rows: Iterable[T], key: Callable[[T], Hashable]) -> list[T]:
    """Return the last row of those of the same key: a repeated run replaces the first."""
    return [same[-1] for same in group(rows, key).values()]
