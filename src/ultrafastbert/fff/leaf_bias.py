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


def check_leaf_bias(b_out: Tensor, n_trees: int, depth: int, output_size: int) -> None:
    """Raise ValueError unless there is a bias for each leaf."""
    shape = (n_trees, tree.n_leaves(depth), output_size)
    if b_out.shape != shape:
        raise ValueError(f"b_out has shape {tuple(b_out.shape)}; these sizes need {shape}")
