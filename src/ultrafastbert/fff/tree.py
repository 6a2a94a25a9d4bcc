"""Geometry of a fast feedforward tree: counts and row numbers, no arithmetic on data.

A tree of depth D has 2^D - 1 nodes in heap order (children of i are 2i+1 and 2i+2), followed by
2^D leaves of L rows each, from left to right. A *slot* is a place on a token's path: D nodes from
the root down, then the L rows of the leaf reached.
"""

import re
from typing import NamedTuple

import torch
from torch import Tensor

# 2^30 leaves is far beyond memory, and keeps every row number within 32 bits for L = 1.
MAX_DEPTH = 30


def check_geometry(depth: int, leaf_size: int, n_trees: int = 1) -> None:
    """Raise ValueError unless the three sizes describe a tree."""
    if not 0 <= depth <= MAX_DEPTH:
        raise ValueError(f"depth={depth} must be between 0 and {MAX_DEPTH}")
    if leaf_size < 1:
        raise ValueError(f"leaf_size={leaf_size} must be at least 1")
    if n_trees < 1:
        raise ValueError(f"n_trees={n_trees} must be at least 1")


def n_nodes(depth: int) -> int:
    """Return the number of decision nodes of one tree, 2^D - 1."""
    return 2**depth - 1


def n_leaves(depth: int) -> int:
    """Return the number of leaves of one tree, 2^D."""
    return int(2**depth)


def n_rows(depth: int, leaf_size: int) -> int:
    """Return R, the neurons (rows) of one tree: nodes first, then the leaf blocks."""
    return n_nodes(depth) + n_leaves(depth) * leaf_size


def n_active(depth: int, leaf_size: int, n_trees: int = 1) -> int:
    """Return how many neurons one token uses, K * (D + L)."""
    return n_trees * (depth + leaf_size)


def path_nodes(leaf: Tensor, depth: int) -> Tensor:
    """Return the nodes visited on the way to a leaf: (...) int64 -> (..., D) int64."""
    level = torch.arange(depth, device=leaf.device)
    return (1 << level) - 1 + (leaf.unsqueeze(-1) >> (depth - level))


def path_rows(leaf: Tensor, depth: int, leaf_size: int) -> Tensor:
    """Return the rows visited on the way to and in a leaf: (...) int64 -> (..., D + L) int64."""
    offset = torch.arange(leaf_size, device=leaf.device)
    block = n_nodes(depth) + leaf.unsqueeze(-1) * leaf_size + offset
    return torch.cat([path_nodes(leaf, depth), block], dim=-1)


class Family(NamedTuple):
    """A member of the family of layers: K trees of depth D with leaves of L neurons."""

    n_trees: int
    depth: int
    leaf_size: int

    def __str__(self) -> str:
        """Return the name, KxD for L = 1 and KxDxL otherwise."""
        name = f"{self.n_trees}x{self.depth}"
        return name if self.leaf_size == 1 else f"{name}x{self.leaf_size}"


def parse_family(name: str) -> Family:
    """Return the sizes that a name such as `1x11` (KxD) or `1x7x8` (KxDxL) stands for.

    Raises ValueError for any other text.
    """
    match = re.fullmatch(r"(\d+)x(\d+)(?:x(\d+))?", name)
    if match is None:
        raise ValueError(f"family {name!r} must be written KxD or KxDxL, such as 1x11 or 1x7x8")
    return Family(int(match[1]), int(match[2]), int(match[3] or 1))
