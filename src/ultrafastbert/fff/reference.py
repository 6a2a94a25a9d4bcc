"""The definition of the fast feedforward layer, as a mask over all neurons.

Every kernel is tested against this file, forward and gradients. It computes all R rows and keeps
the visited ones, as the published software does (arXiv 2311.10770, section 2): slow, and plain
enough to be checked by eye. It is differentiable by autograd.
"""

import torch
from torch import Tensor

from ultrafastbert.fff import tree
from ultrafastbert.fff.activations import ACTIVATIONS
from ultrafastbert.fff.spec import TreeSpec


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


def visited_mask(leaf: Tensor, spec: TreeSpec) -> Tensor:
    """Return which rows add to the output: (T, K) int64 -> (T, K, R) bool."""
    mask = torch.zeros(*leaf.shape, spec.n_rows, dtype=torch.bool, device=leaf.device)
    return mask.scatter(-1, output_rows(leaf, spec), True)


def output_rows(leaf: Tensor, spec: TreeSpec) -> Tensor:
    """Return the rows of a path that add to the output: (T, K) int64 -> (T, K, s) int64.

    All S = D + L slots of the path, or the L of the leaf where nodes only route.
    """
    return tree.path_rows(leaf, spec.depth, spec.leaf_size)[..., spec.first_output_slot :]


def fast_feedforward_reference(
    x: Tensor,
    w_in: Tensor,
    b_in: Tensor,
    w_out: Tensor,
    spec: TreeSpec,
    b_out: Tensor | None = None,
) -> Tensor:
    """Return the sum over visited neurons of act(w_in . x + b_in) w_out, by masking.

    Shapes: x (T, H), w_in (K, R, H), b_in (K, R), w_out (K, R, O) -> (T, O). Decisions carry no
    gradient. A row that is not visited has no influence, even if its w_in or b_in is NaN. The leaf
    reached in each tree adds its row of b_out (K, 2^D, O), if given (arXiv 2308.14711).
    """
    logits = all_logits(x, w_in, b_in)
    leaf = route(logits, spec.depth)
    mask = visited_mask(leaf, spec)
    # Masked before and after: neither a value nor a gradient passes an unvisited row.
    hidden = ACTIVATIONS[spec.activation].forward(logits.masked_fill(~mask, 0.0))
    hidden = hidden.masked_fill(~mask, 0.0)
    y = torch.einsum("tkr,kro->to", hidden, w_out)
    if b_out is None:
        return y
    return y + b_out[torch.arange(len(b_out), device=leaf.device), leaf].sum(1)


def output_of_path(
    x: Tensor, w_in: Tensor, b_in: Tensor, w_out: Tensor, leaf: Tensor, spec: TreeSpec
) -> Tensor:
    """Return the same, given the leaf (T, K) that each token reaches, from its path's rows alone.

    Every `torch.func` transform takes it. It gathers rows: T K (D + L) (H + O) elements.
    """
    rows = output_rows(leaf, spec)  # (T, K, s)
    trees = torch.arange(w_in.shape[0], device=leaf.device)[:, None]
    logits = torch.einsum("th,tksh->tks", x, w_in[trees, rows]) + b_in[trees, rows]
    hidden = ACTIVATIONS[spec.activation].forward(logits)
    return torch.einsum("tks,tkso->to", hidden, w_out[trees, rows])
