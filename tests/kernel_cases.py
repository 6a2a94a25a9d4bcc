"""What tests of the layer iterate over and compare with: the table of kernels, the definition."""

import torch

from ultrafastbert.fff.reference import fast_feedforward_reference
from ultrafastbert.fff.spec import TreeSpec
from ultrafastbert.kernels import usable_kernels
from ultrafastbert.kernels.base import Problem


def problem(depth, dtype=torch.float32, device_type="cpu"):
    """Return a small problem of one tree."""
    return Problem(device_type, dtype, TreeSpec(depth), n_trees=1, hidden_size=8, output_size=8)


def usable(depth, dtype=torch.float32):
    """Return the names of the kernels that work here, at this depth and in this dtype."""
    return [kernel.name for kernel in usable_kernels(problem(depth, dtype))]


def definition(
    x, w_in, b_in, w_out, depth, leaf_size=1, activation="gelu", node_output=True, b_out=None
):
    """Compute the masked definition with the arguments of `fast_feedforward`."""
    spec = TreeSpec(depth, leaf_size, activation, node_output)
    return fast_feedforward_reference(x, w_in, b_in, w_out, spec, b_out)
