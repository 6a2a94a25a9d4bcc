"""Kernel `dense`: depth 0, where the layer is an ordinary feedforward layer of width K * L."""

import torch
from torch import Tensor

from ultrafastbert.fff.activations import ACTIVATIONS
from ultrafastbert.fff.spec import TreeSpec
from ultrafastbert.kernels.base import Gradients, Kernel, Needs, Output
from ultrafastbert.kernels.plain import PlainKernel
from ultrafastbert.kernels.token_sums import sum_products


def forward(x: Tensor, w_in: Tensor, b_in: Tensor, w_out: Tensor, spec: TreeSpec) -> Output:
    """Compute the layer; see `ultrafastbert.kernels.base` for shapes."""
    n_trees = w_in.shape[0]
    logits = torch.addmm(b_in.flatten(), x, w_in.flatten(0, 1).T)  # (T, K * L)
    y = ACTIVATIONS[spec.activation].forward(logits) @ w_out.flatten(0, 1)
    leaf = torch.zeros(x.shape[0], n_trees, dtype=torch.int64, device=x.device)
    return y, leaf, logits.view(x.shape[0], n_trees, spec.leaf_size)


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
    """Compute the gradients; see `ultrafastbert.kernels.base` for shapes."""
    act = ACTIVATIONS[spec.activation]
    z = logits.flatten(1)
    dz = act.backward(grad_y @ w_out.flatten(0, 1).T, z)
    return (
        dz @ w_in.flatten(0, 1) if needs[0] else None,
        sum_products(dz, x).view_as(w_in) if needs[1] else None,
        dz.sum(0).view(w_in.shape[:2]) if needs[2] else None,
        sum_products(act.forward(z), grad_y).view_as(w_out) if needs[3] else None,
    )


def _same(weight_dtype: torch.dtype) -> torch.dtype:
    return weight_dtype  # matrix products of processors and GPUs add in float32 by themselves


def _is_dense(spec: TreeSpec) -> bool:
    return spec.depth == 0


KERNEL: Kernel = PlainKernel("dense", forward, backward, dtype_of=_same, is_made_for=_is_dense)
