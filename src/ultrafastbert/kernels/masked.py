"""Kernel `masked`: all rows are computed, most are multiplied by zero, forward and backward.

This is what the published software does. It is here as the baseline that users know.
"""

import torch
from torch import Tensor

from ultrafastbert.fff import reference, tree
from ultrafastbert.fff.activations import ACTIVATIONS
from ultrafastbert.fff.spec import TreeSpec
from ultrafastbert.kernels.base import Gradients, Kernel, Needs, Output
from ultrafastbert.kernels.plain import PlainKernel
from ultrafastbert.kernels.token_sums import sum_products


def forward(x: Tensor, w_in: Tensor, b_in: Tensor, w_out: Tensor, spec: TreeSpec) -> Output:
    """Compute the layer; see `ultrafastbert.kernels.base` for shapes."""
    w_in, b_in, w_out = (w.to(x.dtype) for w in (w_in, b_in, w_out))
    logits = reference.all_logits(x, w_in, b_in)
    leaf = reference.route(logits, spec.depth)
    mask = reference.visited_mask(leaf, spec)
    hidden = ACTIVATIONS[spec.activation].forward(logits).masked_fill(~mask, 0.0)
    y = hidden.flatten(1) @ w_out.flatten(0, 1)
    return y, leaf, logits.gather(-1, tree.path_rows(leaf, spec.depth, spec.leaf_size))


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
    """Compute the gradients with dense products; see `ultrafastbert.kernels.base` for shapes."""
    act = ACTIVATIONS[spec.activation]
    w_in, w_out = w_in.to(x.dtype), w_out.to(x.dtype)
    rows = tree.path_rows(leaf, spec.depth, spec.leaf_size)
    mask = reference.visited_mask(leaf, spec)
    z = torch.zeros(mask.shape, dtype=x.dtype, device=x.device).scatter(-1, rows, logits)
    grad_hidden = torch.einsum("to,kro->tkr", grad_y, w_out)
    dz = act.backward(grad_hidden, z).masked_fill(~mask, 0.0)
    hidden = act.forward(z).masked_fill(~mask, 0.0)
    return (
        dz.flatten(1) @ w_in.flatten(0, 1) if needs[0] else None,
        sum_products(dz.flatten(1), x).view_as(w_in) if needs[1] else None,
        dz.sum(0) if needs[2] else None,
        sum_products(hidden.flatten(1), grad_y).view_as(w_out) if needs[3] else None,
    )


KERNEL: Kernel = PlainKernel("masked", forward, backward)
