"""Hyperplanes for the nodes of trees, from the inputs of the FF layer that a tree replaces.

Every node splits the tokens that reach it into halves, so that all leaves are used alike. It splits
along the direction in which these tokens vary most, or along a random one.
"""

from collections.abc import Callable

import torch
from torch import Tensor

from ultrafastbert.fff import tree
from ultrafastbert.fff.layer import FastFeedForward

# Fewer tokens than this have no directions of their own: their node splits along a random one.
FEWEST_TOKENS = 16
POWER_ITERATIONS = 20
# Tokens that are all the same have no spread to divide by.
SMALLEST_SPREAD = 1e-6


def set_hyperplanes(layer: FastFeedForward, x: Tensor, split: str, seed: int) -> None:
    """Set the input weights of all nodes from a sample of inputs, (T, H).

    The logits of a node have mean square about one, and a median of zero, over its tokens.
    `split` is `principal` or `random`; ValueError for another. Trees after the first split along
    random directions, as several trees along the same ones would be one.
    """
    if split not in DIRECTIONS:
        raise ValueError(f"split={split!r} is unknown; choose one of {', '.join(DIRECTIONS)}")
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for k in range(layer.n_trees):
            direction = DIRECTIONS[split if k == 0 else "random"]
            _split_tree(layer.w_in[k], layer.b_in[k], layer.depth, x, direction, generator)


def _split_tree(
    w_in: Tensor,
    b_in: Tensor,
    depth: int,
    x: Tensor,
    direction: Callable[[Tensor, torch.Generator], Tensor],
    generator: torch.Generator,
) -> None:
    at = torch.zeros(len(x), dtype=torch.int64)  # node that each token has reached
    for node in range(tree.n_nodes(depth)):
        here = (at == node).nonzero().squeeze(1)
        tokens = x[here]
        if len(here) >= FEWEST_TOKENS:
            along = direction(tokens, generator)
            along = along / (tokens @ along).std().clamp(min=SMALLEST_SPREAD)
        else:
            along = _random(tokens, generator)
        w_in[node] = along
        b_in[node] = -(tokens @ along).median() if len(here) else 0.0
        at[here] = 2 * node + 1 + (tokens @ along + b_in[node] > 0).long()


def _principal(tokens: Tensor, generator: torch.Generator) -> Tensor:
    """Return the direction of the largest variance, by power iteration: (T, H) -> (H)."""
    centred = tokens - tokens.mean(0)
    along = _random(tokens, generator)
    for _ in range(POWER_ITERATIONS):
        along = torch.nn.functional.normalize(centred.T @ (centred @ along), dim=0)
    return along


def _random(tokens: Tensor, generator: torch.Generator) -> Tensor:
    direction = torch.randn(tokens.shape[1], generator=generator, dtype=tokens.dtype)
    return torch.nn.functional.normalize(direction, dim=0)


DIRECTIONS: dict[str, Callable[[Tensor, torch.Generator], Tensor]] = {
    "principal": _principal,
    "random": _random,
}
