"""The fast feedforward layer as one operator of ONNX, which our runtime brings.

Sizes in comments: H hidden, O output, K trees, N = 2^D - 1 nodes, M = 2^D * L neurons of leaves.
"""

from typing import Any

import torch
from torch import Tensor, nn

from ultrafastbert.fff.layer import FastFeedForward
from ultrafastbert.fff.leaf_bias import add_leaf_bias

DOMAIN = "ultrafastbert"
OPERATOR = "FastFeedForward"
VERSION = 1


class NativeFeedForward(nn.Module):
    """A fast feedforward layer for export: (..., H) -> (..., O), as an operator of ONNX Runtime.

    Weights stay in the precision that the layer holds: float32, bfloat16 or int8. Biases of leaves
    and the shared block are standard operators beside it. It can be traced, not run.
    """

    nodes: Tensor
    leaves: Tensor
    out: Tensor
    bias: Tensor
    node_scale: Tensor | None
    leaf_scale: Tensor | None
    out_scale: Tensor | None
    b_out: Tensor | None

    def __init__(self, layer: FastFeedForward):
        super().__init__()
        self.spec, self.n_trees, self.output_size = layer.spec, layer.n_trees, layer.output_size
        self.shared = layer.shared
        b_out = None if layer.b_out is None else layer.b_out.detach().float()
        for name, tensor in {**_weights(layer), "b_out": b_out}.items():
            self.register_buffer(name, None if tensor is None else tensor.detach().contiguous())

    def forward(self, x: Tensor) -> Tensor:
        """Map (..., H) to (..., O)."""
        weights = [x, self.nodes if self.spec.depth else None, self.leaves, self.out, self.bias]
        scales = [self.node_scale, self.leaf_scale, self.out_scale]
        y, leaf = torch.onnx.ops.symbolic_multi_out(
            f"{DOMAIN}::{OPERATOR}",
            weights if self.out_scale is None else weights + scales,
            self._attributes(),
            dtypes=(torch.float32, torch.int64),
            shapes=((*x.shape[:-1], self.output_size), (*x.shape[:-1], self.n_trees)),
            version=VERSION,
        )
        if self.b_out is not None:
            y = add_leaf_bias(y, leaf, self.b_out)
        return y if self.shared is None else y + self.shared(x)

    def _attributes(self) -> dict[str, Any]:
        return {
            "depth": self.spec.depth,
            "leaf_size": self.spec.leaf_size,
            "activation": self.spec.activation,
            "node_output": int(self.spec.node_output),
        }


def _weights(layer: FastFeedForward) -> dict[str, Tensor | None]:
    """Return the operator's inputs: nodes (K, N, H), leaves (K, M, H), out (K, N + M, O), ..."""
    held, n_nodes = layer.weights(), layer.spec.n_nodes
    nodes, leaves = held.w_in[:, :n_nodes], held.w_in[:, n_nodes:]
    node_scale = leaf_scale = None
    if held.scale_in is not None:
        node_scale, leaf_scale = held.scale_in[:, :n_nodes], held.scale_in[:, n_nodes:]
    if held.w_routing is not None:
        nodes, leaves, node_scale, leaf_scale = held.w_routing, held.w_in, None, held.scale_in
    return {
        "nodes": nodes,
        "leaves": leaves,
        "out": held.w_out,
        "bias": held.b_in.float(),
        "node_scale": node_scale if layer.depth else None,
        "leaf_scale": leaf_scale,
        "out_scale": held.scale_out,
    }
