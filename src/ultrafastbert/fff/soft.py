"""Soft routing, for training: all leaves answer, mixed by the decisions (arXiv 2308.14711).

A node sends a token right with probability sigmoid(logit). Every neuron's output is weighted by the
probability that the token visits it, so that decisions learn; at probabilities of 0 and 1 this is
the definition of `ultrafastbert.fff.reference`. It costs all R rows of a tree.

Sizes: T tokens, H hidden, O output, K trees, D depth, N = 2^D - 1 nodes, L leaf size.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from ultrafastbert.fff import tree
from ultrafastbert.fff.activations import ACTIVATIONS
from ultrafastbert.fff.checks import check_floating, check_last_size
from ultrafastbert.fff.reference import all_logits
from ultrafastbert.fff.spec import TreeSpec, logits_dtype

# Probabilities are held off 0 and 1 where their logarithm is taken, as in fastfeedforward 0.2.1:
# decisions as hard as that get no gradient from their entropy.
ENTROPY_EPSILON = 1e-6
USAGE_MODES = ("none", "soft", "hard")


def soft_feedforward(
    x: Tensor,
    w_in: Tensor,
    b_in: Tensor,
    w_out: Tensor,
    b_out: Tensor | None,
    spec: TreeSpec,
    region_leak: float = 0.0,
    dropout: float = 0.0,
) -> tuple[Tensor, Tensor]:
    """Return the mixture of all paths (..., O), and the decisions behind it (T, K, N).

    Shapes: x (..., H), w_in (K, R, H), b_in (K, R), w_out (K, R, O), b_out (K, 2^D, O) or None.
    `region_leak` is the probability that a decision is swapped, `dropout` that a neuron's
    activation is dropped. Sums, also those of gradients, are at least in float32. Source: arXiv
    2308.14711, algorithm 1.
    Raises TypeError or ValueError for x that does not fit.
    """
    check_floating("x", x)
    check_last_size(x, w_in.shape[2])
    dtype = logits_dtype(w_in.dtype)
    w_in, b_in, w_out = (w.to(dtype) for w in (w_in, b_in, w_out))
    tokens = x.reshape(-1, x.shape[-1]).to(dtype)
    logits = all_logits(tokens, w_in, b_in)  # (T, K, R)
    right = decide(logits[..., : spec.n_nodes], region_leak)
    nodes, leaves = visit_probabilities(right, spec.depth)
    rows = leaves.repeat_interleave(spec.leaf_size, dim=-1)
    visits = torch.cat([nodes, rows], dim=-1) if spec.node_output else rows
    first = spec.n_rows - visits.shape[-1]
    hidden = F.dropout(ACTIVATIONS[spec.activation].forward(logits[..., first:]), dropout)
    weighted = (hidden * visits).to(dtype)
    y = torch.einsum("tkr,kro->to", weighted, w_out[:, first:])
    if b_out is not None:
        y = y + torch.einsum("tkn,kno->to", leaves.to(dtype), b_out.to(dtype))
    return y.to(x.dtype).view(*x.shape[:-1], w_out.shape[2]), right


def decide(logits: Tensor, region_leak: float = 0.0) -> Tensor:
    """Return the probability of going right, swapped with that of going left where it leaks.

    At least in float32. Source: arXiv 2308.14711, "region leak".
    """
    right = torch.sigmoid(logits.to(torch.promote_types(logits.dtype, torch.float32)))
    if region_leak:
        right = torch.where(torch.rand_like(right) < region_leak, 1 - right, right)
    return right


def visit_probabilities(right: Tensor, depth: int) -> tuple[Tensor, Tensor]:
    """Return how probably a token visits each node and leaf: (T, K, N) -> (T, K, N), (T, K, 2^D).

    The product of the decisions on the way.
    """
    reach = right.new_ones(*right.shape[:2], 1)
    levels = [reach[..., :0]]
    for level in range(depth):
        decision = right[..., tree.n_nodes(level) : tree.n_nodes(level + 1)]
        levels.append(reach)
        reach = torch.stack([reach * (1 - decision), reach * decision], dim=-1).flatten(-2)
    return torch.cat(levels, dim=-1), reach


def decision_entropies(right: Tensor) -> Tensor:
    """Return the batch mean of the entropy of each decision, in nats: (T, K, N) -> (K, N).

    Zero without tokens. Source: arXiv 2308.14711, "hardening".
    """
    right = right.clamp(ENTROPY_EPSILON, 1 - ENTROPY_EPSILON)
    left = 1 - right
    entropy = -right * right.log() - left * left.log()
    return entropy.sum(0) / max(right.shape[0], 1)


def count_leaves(leaf: Tensor, depth: int) -> Tensor:
    """Return how many tokens reached each leaf: (T, K) int64 -> (K, 2^D) int64."""
    ones = torch.ones_like(leaf.T)
    return ones.new_zeros(leaf.shape[1], tree.n_leaves(depth)).scatter_add(1, leaf.T, ones)


def node_usage(leaf_usage: Tensor, depth: int) -> Tensor:
    """Return how often each node was visited, the sum of the leaves below: (K, 2^D) -> (K, N)."""
    levels = [leaf_usage.unflatten(-1, (2**level, -1)).sum(-1) for level in range(depth)]
    return torch.cat([leaf_usage[:, :0], *levels], dim=-1)


def check_options(soft_training: bool, usage_mode: str = "none", **probabilities: float) -> None:
    """Raise ValueError for an unknown usage mode, and probabilities that are none or not used."""
    if usage_mode not in USAGE_MODES:
        choices = ", ".join(USAGE_MODES)
        raise ValueError(f"usage_mode={usage_mode!r} is unknown; choose one of {choices}")
    for name, value in probabilities.items():
        if not 0 <= value <= 1:
            raise ValueError(f"{name}={value} must be between 0 and 1")
        if value and not soft_training:
            raise ValueError(f"{name}={value} needs soft_training=True")
