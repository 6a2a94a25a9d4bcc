"""Output biases of leaves: an embedding of the leaf that a token reaches (arXiv 2308.14711)."""

import torch
import torch.nn.functional as F
from torch import Tensor

from ultrafastbert.fff import tree


def add_leaf_bias(y: Tensor, leaf: Tensor, b_out: Tensor) -> Tensor:
    """Return y plus the biases of the leaves reached: y (..., O), leaf (..., K), b_out (K, 2^D, O).

    Sums are at least in float32, those of gradients, too.
    """
    dtype = torch.promote_types(y.dtype, torch.float32)
    if b_out.requires_grad:
        b_out = b_out.to(dtype)
    total = y.to(dtype)
    # Tree by tree: the rows of all trees at once would be K times the output.
    for bias, reached in zip(b_out.unbind(), leaf.unbind(-1), strict=True):
        total = total + F.embedding(reached, bias)
    return total.to(y.dtype)


def add_checked_leaf_bias(y: Tensor, leaf: Tensor, b_out: Tensor | None, depth: int) -> Tensor:
    """Return y (T, O) plus the biases of the leaves reached (T, K); y without biases.

    Raises ValueError unless b_out is (K, 2^D, O), a bias for each leaf.
    """
    if b_out is None:
        return y
    shape = (leaf.shape[1], tree.n_leaves(depth), y.shape[1])
    if b_out.shape != shape:
        raise ValueError(f"b_out has shape {tuple(b_out.shape)}; these sizes need {shape}")
    return add_leaf_bias(y, leaf, b_out)
