"""The definition of the fast feedforward layer, as a mask over all neurons.

Every kernel is tested against this file, forward and gradients. It computes all R rows and keeps
the visited ones, as the published software does (arXiv 2311.10770, section 2): slow, and plain
enough to be checked by eye. It is differentiable by autograd.
"""

import torch
from torch import Tensor

from ultrafastbert.fff import tree
from ultrafastbert.fff.activations import ACTIVATIONS


def all_logits(x: Tensor, w_in: Tensor, b_in: Tensor) -> Tensor:
    """Return the logits of all rows: x (T, H), w_in (K, R, H), b_in (K, R) -> (T, K, R)."""
    return torch.einsum("th,krh->tkr", x, w_in) + b_in


def route(logits: Tensor, depth: int) -> Tensor:
    """Return the leaf that each token reaches: (T, K, R) -> (T, K) int64; right iff logit > 0."""
    node = torch.zeros(logits.shape[:2], dtype=torch.int64, device=logits.device)
    for _ in range(depth):
        logit = logits.gather(-1, node.unsqueeze(-1)).squeeze(-1)
        node = 2 * node + 1 + (logit > 0)
    return node - tree.n_nodes(depth)


def visited_mask(leaf: Tensor, depth: int, leaf_size: int, node_output: bool = True) -> Tensor:
    """Return which rows add to the output: (T, K) int64 -> (T, K, R) bool."""
    rows = tree.path_rows(leaf, depth, leaf_size)[..., 0 if node_output else depth :]
    mask = torch.zeros(
        *leaf.shape, tree.n_rows(depth, leaf_size), dtype=torch.bool, device=leaf.device
    )
    return mask.scatter(-1, rows, True)


def fast_feedforward_reference(
    x: Tensor,
    w_in: Tensor,
    b_in: Tensor,
    w_out: Tensor,
    depth: int,
    leaf_size: int = 1,
    activation: str = "gelu",
    node_output: bool = True,
    b_out: Tensor | None = None,
) -> Tensor:
    """Return the sum over visited neurons of act(w_in . x + b_in) w_out, by masking.

    Shapes: x (T, H), w_in (K, R, H), b_in (K, R), w_out (K, R, O) -> (T, O). Decisions carry no
    gradient. A row that is not visited has no influence, even if its w_in or b_in is NaN. The leaf
    reached in each tree adds its row of b_out (K, 2^D, O), if given (arXiv 2308.14711).
    """
    logits = all_logits(x, w_in, b_in)
    leaf = route(logits, depth)
    mask = visited_mask(leaf, depth, leaf_size, node_output)
    # Masked before and after: neither a value nor a gradient passes an unvisited row.
    hidden = ACTIVATIONS[activation].forward(logits.masked_fill(~mask, 0.0))
    hidden = hidden.masked_fill(~mask, 0.0)
    y = torch.einsum("tkr,kro->to", hidden, w_out)
    return (
        y if b_out is None else y + b_out[torch.arange(len(b_out), device=leaf.device), leaf].sum(1)
    )


def output_of_path(
    x: Tensor,
    w_in: Tensor,
    b_in: Tensor,
    w_out: Tensor,
    leaf: Tensor,
    depth: int,
    leaf_size: int,
    activation: str,
    node_output: bool,
) -> Tensor:
    """Return the same, given the leaf (T, K) that each token reaches, from its path's rows alone.

    Every transform of functions takes it. Rows are gathered: T K (D + L) (H + O) numbers.
    """
    rows = tree.path_rows(leaf, depth, leaf_size)[..., 0 if node_output else depth :]  # (T, K, S)
    trees = torch.arange(w_in.shape[0], device=leaf.device)[:, None]
    logits = torch.einsum("th,tksh->tks", x, w_in[trees, rows]) + b_in[trees, rows]
    return torch.einsum("tks,tkso->to", ACTIVATIONS[activation].forward(logits), w_out[trees, rows])
