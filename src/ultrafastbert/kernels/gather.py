"""Kernel `gather`: plain PyTorch on any device, level by level, only visited rows are read."""

import torch
from torch import Tensor

from ultrafastbert.fff import reference, tree
from ultrafastbert.fff.activations import ACTIVATIONS
from ultrafastbert.fff.spec import TreeSpec
from ultrafastbert.kernels.base import Gradients, Kernel, Needs, Output
from ultrafastbert.kernels.plain import PlainKernel

# Gathered rows of one chunk of tokens: 2^22 elements are 16 MB in float32, within a large cache.
CHUNK_ELEMENTS = 2**22
# Tokens of a chunk of gradients at most: a row's sum is over a chunk, then over chunks, so that no
# chain of additions is long enough to lose digits.
CHUNK_TOKENS = 512


def forward(x: Tensor, w_in: Tensor, b_in: Tensor, w_out: Tensor, spec: TreeSpec) -> Output:
    """Compute the layer; see `ultrafastbert.kernels.base` for shapes."""
    n_tokens, n_trees = x.shape[0], w_in.shape[0]
    y = x.new_empty(n_tokens, w_out.shape[2])
    leaf = torch.empty(n_tokens, n_trees, dtype=torch.int64, device=x.device)
    logits = x.new_empty(n_tokens, n_trees, spec.n_slots)
    for part in _chunks(n_tokens, n_tokens, logits[0:1].numel() * max(x.shape[1], y.shape[1])):
        leaf[part], logits[part] = _route(x[part], w_in, b_in, spec)
        y[part] = _output(leaf[part], logits[part], w_out, spec)
    return y, leaf, logits


def backward(
    grad_y: Tensor,
    x: Tensor,
    w_in: Tensor,
    w_out: Tensor,
    leaf: Tensor,
    logits: Tensor,
    spec: TreeSpec,
    needs: Needs,
) -> Gradients:
    """Compute the gradients of visited rows; see `ultrafastbert.kernels.base` for shapes."""
    act = ACTIVATIONS[spec.activation]
    first = spec.first_output_slot  # nodes that only route take part in no gradient
    flat_in, flat_out = w_in.flatten(0, 1), w_out.flatten(0, 1)
    like = (x, flat_in, flat_in[:, 0], flat_out)
    grads = [
        t.new_zeros(t.shape, dtype=x.dtype) if need else t
        for t, need in zip(like, needs, strict=True)
    ]
    row_elements = logits[0:1].numel() * max(x.shape[1], grad_y.shape[1])
    for part in _chunks(x.shape[0], CHUNK_TOKENS, row_elements):
        rows = _output_rows(leaf[part], spec)  # (t, K, s)
        z = logits[part][..., first:]
        grad_hidden = torch.einsum("to,tkso->tks", grad_y[part], flat_out[rows].to(x.dtype))
        dz = act.backward(grad_hidden, z.contiguous())
        if needs[0]:
            grads[0][part] = torch.einsum("tks,tksh->th", dz, flat_in[rows].to(x.dtype))
        if needs[1]:
            _add_rows(grads[1], rows, torch.einsum("tks,th->tksh", dz, x[part]))
        if needs[2]:
            _add_rows(grads[2], rows, dz)
        if needs[3]:
            hidden = act.forward(z)
            _add_rows(grads[3], rows, torch.einsum("tks,to->tkso", hidden, grad_y[part]))
    shapes = (x.shape, w_in.shape, w_in.shape[:2], w_out.shape)
    grad_x, grad_w_in, grad_b_in, grad_w_out = (
        grad.view(shape) if need else None
        for grad, shape, need in zip(grads, shapes, needs, strict=True)
    )
    return grad_x, grad_w_in, grad_b_in, grad_w_out


def _chunks(n_tokens: int, most_tokens: int, elements_per_token: int) -> list[slice]:
    size = max(1, min(most_tokens, CHUNK_ELEMENTS // max(1, elements_per_token)))
    return [slice(start, start + size) for start in range(0, n_tokens, size)]


def _output_rows(leaf: Tensor, spec: TreeSpec) -> Tensor:
    """Rows of the (K * R, ...) view of weights that add to the output: (t, K) -> (t, K, s)."""
    first_row = torch.arange(leaf.shape[1], device=leaf.device) * spec.n_rows
    return reference.output_rows(leaf, spec) + first_row[:, None]


def _route(x: Tensor, w_in: Tensor, b_in: Tensor, spec: TreeSpec) -> tuple[Tensor, Tensor]:
    """Walk down all trees: x (t, H) -> leaf (t, K), logits (t, K, S)."""
    trees = torch.arange(w_in.shape[0], device=x.device)
    node = torch.zeros(x.shape[0], w_in.shape[0], dtype=torch.int64, device=x.device)
    levels = []
    for _ in range(spec.depth):
        logit = torch.einsum("th,tkh->tk", x, w_in[trees, node].to(x.dtype)) + b_in[trees, node]
        levels.append(logit)
        node = 2 * node + 1 + (logit > 0)
    leaf = node - spec.n_nodes
    rows = tree.path_rows(leaf, spec.depth, spec.leaf_size)[..., spec.depth :]  # (t, K, L)
    block = torch.einsum("th,tklh->tkl", x, w_in[trees[:, None], rows].to(x.dtype))
    block = block + b_in[trees[:, None], rows]
    return leaf, torch.cat([torch.stack(levels, -1), block], -1) if levels else block


def _output(leaf: Tensor, logits: Tensor, w_out: Tensor, spec: TreeSpec) -> Tensor:
    """Sum the visited output rows: leaf (t, K), logits (t, K, S) -> (t, O)."""
    hidden = ACTIVATIONS[spec.activation].forward(logits[..., spec.first_output_slot :])
    rows = w_out.flatten(0, 1)[_output_rows(leaf, spec)]  # (t, K, s, O)
    return torch.einsum("tks,tkso->to", hidden, rows.to(hidden.dtype))


def _add_rows(grad: Tensor, rows: Tensor, terms: Tensor) -> None:
    """Add terms (t, K, s, ...) to the rows (t, K, s) of grad (K * R, ...)."""
    visited, place = rows.flatten().unique(return_inverse=True)
    sums = grad.new_zeros(len(visited), *grad.shape[1:])
    grad.index_add_(0, visited, sums.index_add_(0, place, terms.flatten(0, 2)))


KERNEL: Kernel = PlainKernel("gather", forward, backward)
