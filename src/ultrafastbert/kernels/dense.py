"""Kernel `dense`: depth 0, where the layer is an ordinary feedforward layer of width K * L."""

import torch
from torch import Tensor

from ultrafastbert.fff.activations import ACTIVATIONS
from ultrafastbert.kernels.token_sums import sum_products


def is_available() -> bool:
    """Return True: plain PyTorch."""
    return True


def supports(device_type: str, dtype: torch.dtype, depth: int) -> bool:
    """Return True at depth 0, on any device and in any dtype."""
    return depth == 0


def forward(
    x: Tensor,
    w_in: Tensor,
    b_in: Tensor,
    w_out: Tensor,
    depth: int,
    leaf_size: int,
    activation: str,
    node_output: bool,
) -> tuple[Tensor, Tensor, Tensor]:
    """Compute the layer; see `ultrafastbert.kernels` for shapes."""
    n_trees = w_in.shape[0]
    logits = torch.addmm(b_in.flatten(), x, w_in.flatten(0, 1).T)  # (T, K * L)
    y = ACTIVATIONS[activation].forward(logits) @ w_out.flatten(0, 1)
    leaf = torch.zeros(x.shape[0], n_trees, dtype=torch.int64, device=x.device)
    return y, leaf, logits.view(x.shape[0], n_trees, leaf_size)


def backward(
    grad_y: Tensor,
    x: Tensor,
    w_in: Tensor,
    w_out: Tensor,
    leaf: Tensor,
    logits: Tensor,
    depth: int,
    leaf_size: int,
    activation: str,
    node_output: bool,
    needs: tuple[bool, bool, bool, bool],
) -> tuple[Tensor | None, Tensor | None, Tensor | None, Tensor | None]:
    """Compute the gradients; see `ultrafastbert.kernels` for shapes."""
    act = ACTIVATIONS[activation]
    z = logits.flatten(1)
    dz = act.backward(grad_y @ w_out.flatten(0, 1).T, z)
    return (
        dz @ w_in.flatten(0, 1) if needs[0] else None,
        sum_products(dz, x).view_as(w_in) if needs[1] else None,
        dz.sum(0).view(w_in.shape[:2]) if needs[2] else None,
        sum_products(act.forward(z), grad_y).view_as(w_out) if needs[3] else None,
    )
