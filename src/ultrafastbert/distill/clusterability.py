"""Clusterability: predicts, before anything is converted, how well a tree will fit an FF layer.

Inputs are split into as many regions as the tree has leaves, along
their principal directions, and the outputs are predicted on held-out tokens: by the mean of the
region alone, by one linear map for all, by a linear map in each region. The last predicts the FVU
of a trained tree. A dense layer as wide as the tree's path is no more than linear where its neurons
stay on one side of zero, but better than that in some layers, so it is trained for a moment: the
ratio of both says whether the tree will be ahead.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from ultrafastbert.distill.candidates import training_of
from ultrafastbert.distill.layerwise import fvu, regress
from ultrafastbert.distill.scaling import measure
from ultrafastbert.distill.splits import FEWEST_TOKENS, set_hyperplanes
from ultrafastbert.fff import tree
from ultrafastbert.fff.layer import FastFeedForward
from ultrafastbert.fff.tree import Family
from ultrafastbert.models.converted.feedforward import ConvertedFeedForward
from ultrafastbert.models.converted.hooks import Captured

# Added to the mean squares of inputs, which are one, where linear maps are fitted: regions have few
# tokens. From 0.03 to 0.1 nothing changes with 700 tokens a region of 384 inputs or more.
RIDGE = 0.1
# The least that ranks layers as long training does: rank correlation of the ratio 0.94 after 200
# steps, 0.77 after 100 (layers of MiniLM).
DENSE_STEPS = 200


class _Tokens(NamedTuple):
    """Inputs and outputs (T, H) and the region of each token (T)."""

    x: Tensor
    y: Tensor
    region: Tensor


def clusterability(
    train: Captured, validation: Captured, family: Family, seed: int = 0
) -> dict[str, float]:
    """Return the FVU of simple predictions of the held-out outputs.

    `fvu_region`: by the means of 2^D regions. `fvu_linear`: by one linear map of
    rank K (D + L), what a dense layer as wide would be without activation. `fvu_local`: by
    a map of rank K L in each region. `fvu_dense`: by that dense layer, briefly trained.
    `largest_output_share` is the share of a single output in the variance: near 1, the FVU says
    nothing of the other outputs.
    """
    fitted, held_out = _regions(train, validation, family, seed)
    n_active = tree.n_active(family.depth, family.leaf_size, family.n_trees)
    dense = f"ff:{n_active}"
    feedforward = ConvertedFeedForward(train.x.shape[1], dense)
    regress(feedforward, train, training_of(dense, DENSE_STEPS, seed=seed))
    variance = held_out.y.var(0, correction=0)
    return {
        "fvu_region": _linear_fvu(fitted, held_out, 0),
        "fvu_linear": _linear_fvu(_whole(fitted), _whole(held_out), n_active),
        "fvu_local": _linear_fvu(fitted, held_out, family.n_trees * family.leaf_size),
        "fvu_dense": fvu(feedforward, validation),
        "largest_output_share": (variance.max() / variance.sum()).item(),
    }


def check_tokens(n_tokens: int, family: Family) -> None:
    """Raise ValueError where a tree of the family would have too few tokens a leaf to split."""
    fewest = FEWEST_TOKENS * tree.n_leaves(family.depth)
    if n_tokens < fewest:
        raise ValueError(
            f"tokens={n_tokens:,} are too few for the leaves of {family}: give {fewest:,} or more, "
            "or a smaller depth"
        )


def _regions(
    train: Captured, validation: Captured, family: Family, seed: int
) -> tuple[_Tokens, _Tokens]:
    """Return scaled inputs and outputs, with the leaf of a tree of balanced principal splits."""
    scaling = measure(train.x.float(), train.y.float())
    splits = FastFeedForward(train.x.shape[1], family.depth)
    x, _ = scaling.apply(*train)
    set_hyperplanes(splits, x, "principal", seed)
    scaled = (scaling.apply(*part) for part in (train, validation))
    fitted, held_out = (_Tokens(x, y, splits.visited_leaves(x)[:, 0]) for x, y in scaled)
    return fitted, held_out


def _whole(tokens: _Tokens) -> _Tokens:
    return tokens._replace(region=torch.zeros_like(tokens.region))


def _linear_fvu(fitted: _Tokens, held_out: _Tokens, rank: int) -> float:
    """Return the FVU of a linear map of a rank in each region."""
    error = 0.0
    for region in held_out.region.unique():
        here, there = fitted.region == region, held_out.region == region
        x, y = fitted.x[here], fitted.y[here]
        x_mean, y_mean = x.mean(0), y.mean(0)
        left = held_out.y[there] - y_mean
        if rank:
            slope = linear_map(x - x_mean, y - y_mean, rank)
            left -= (held_out.x[there] - x_mean) @ slope
        error += left.square().sum().item()
    variance = (held_out.y - held_out.y.mean(0)).square().sum().item()
    return error / variance if variance else 0.0


def linear_map(x: Tensor, y: Tensor, rank: int) -> Tensor:
    """Return the map of a rank at most that fits centred outputs best, ridge regression: (H, O).

    Shapes: x (T, H), y (T, O). Reduced-rank regression (Izenman, 1975): the full map, projected
    on the principal directions of what it predicts.
    """
    gram, cross = x.T @ x, x.T @ y
    gram.diagonal().add_(RIDGE * len(x))
    full = torch.cholesky_solve(cross, torch.linalg.cholesky(gram))
    if rank >= min(full.shape):
        return full
    directions = torch.linalg.eigh(cross.T @ full).eigenvectors[:, -rank:]
    return full @ directions @ directions.T
