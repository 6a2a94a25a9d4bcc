"""The fast feedforward layer in standard tensor operations, for engines without its operator.

The walk is unrolled level by level. Every token computes the few nodes of the top levels as one
dense product, which costs less than gathering a row per level for each token; below, rows are
gathered. Sizes in comments: T tokens, H hidden, O output, K trees; a slot is a place on a path.
"""

import copy

import torch
from torch import Tensor, nn
from transformers import PreTrainedConfig, PreTrainedModel

from ultrafastbert.fff import tree
from ultrafastbert.fff.activations import ACTIVATIONS
from ultrafastbert.fff.layer import FastFeedForward
from ultrafastbert.fff.quantization import check_finite, dequantize
from ultrafastbert.inference.engines.tracing import with_layers

# 31 nodes: a product with fewer takes hardly less time, one level more takes as long as it saves
# (measured in ONNX Runtime and OpenVINO at H = 768, 1 to 2,048 tokens).
DENSE_LEVELS = 5
# Gathering so many leaf rows for each token takes longer than a product with 32 times as many.
WIDE_LEAVES = 32


class UnrolledFeedForward(nn.Module):
    """A fast feedforward layer for export: the same function of (..., H), without gradient.

    Quantized weights are expanded to float32. Raises ValueError for weights that are not finite:
    rows that are not visited are multiplied by zero here.
    """

    dense_in: Tensor
    dense_bias: Tensor
    dense_out: Tensor
    w_in: Tensor
    b_in: Tensor
    w_out: Tensor
    b_out: Tensor | None

    def __init__(self, layer: FastFeedForward):
        super().__init__()
        w_in, b_in, w_out = (weight.detach() for weight in dequantize(layer.weights()))
        b_out = None if layer.b_out is None else layer.b_out.detach().float().flatten(0, 1)
        check_finite(w_in, b_in, w_out)
        self.depth, self.n_trees, self.leaf_size = layer.depth, layer.n_trees, layer.leaf_size
        self.node_output, self.shared = layer.node_output, layer.shared
        self.activation = ACTIVATIONS[layer.activation].forward
        self.dense_levels = min(self.depth, DENSE_LEVELS)
        wide = self.depth == 0 or self.n_trees * self.leaf_size >= WIDE_LEAVES
        self.leaves_are_dense = self.depth <= DENSE_LEVELS and wide
        n_rows = tree.n_rows(self.depth, self.leaf_size)
        self.n_dense = n_rows if self.leaves_are_dense else tree.n_nodes(self.dense_levels)
        self.n_gathered = n_rows - self.n_dense
        self.register_buffer("dense_in", w_in[:, : self.n_dense].flatten(0, 1).T.contiguous())
        self.register_buffer("dense_bias", b_in[:, : self.n_dense].flatten())
        self.register_buffer("dense_out", w_out[:, : self.n_dense].flatten(0, 1))
        self.register_buffer("w_in", w_in[:, self.n_dense :].flatten(0, 1))
        self.register_buffer("b_in", b_in[:, self.n_dense :].flatten())
        self.register_buffer("w_out", w_out[:, self.n_dense :].flatten(0, 1))
        self.register_buffer("b_out", b_out)  # (K * 2^D, O)

    def forward(self, x: Tensor) -> Tensor:
        """Map (..., H) to (..., O)."""
        y, leaf = self.walk(x.flatten(0, -2))
        if self.b_out is not None:
            first_leaf = torch.arange(self.n_trees) * tree.n_leaves(self.depth)
            y = y + self.b_out[leaf + first_leaf].sum(1)
        y = y.unflatten(0, x.shape[:-1])
        return y if self.shared is None else y + self.shared(x)

    def walk(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return what neurons add (T, O) and the leaf (T, K) reached in each tree: x (T, H)."""
        logits = torch.addmm(self.dense_bias, x, self.dense_in)
        logits = logits.unflatten(1, (self.n_trees, self.n_dense))
        node = torch.zeros_like(logits[:, :, :1], dtype=torch.int64)  # (T, K, 1)
        visited = []  # rows (T, K, slots)
        for _ in range(self.dense_levels):
            visited.append(node)
            node = _child(node, logits.gather(2, node))
        if not self.node_output:
            visited = []
        if self.leaves_are_dense:
            visited.append(self._leaf_row(node) + torch.arange(self.leaf_size))
            leaf = (node - tree.n_nodes(self.depth)).squeeze(2)
            return self._sum_dense(logits, visited), leaf
        y, leaf = self._walk_below(x, node.squeeze(2))
        return (y + self._sum_dense(logits, visited) if visited else y), leaf

    def _leaf_row(self, node: Tensor) -> Tensor:
        """Return the first row of a leaf, given as a node of the level below the last."""
        n_nodes = tree.n_nodes(self.depth)
        return n_nodes + (node - n_nodes) * self.leaf_size

    def _sum_dense(self, logits: Tensor, visited: list[Tensor]) -> Tensor:
        """Return what visited rows add (T, O), of those with logits (T, K, n_dense)."""
        if self.depth == 0:  # all rows are visited
            return self.activation(logits).flatten(1) @ self.dense_out
        rows = torch.cat(visited, 2)
        hidden = self.activation(logits.gather(2, rows))
        return torch.zeros_like(logits).scatter(2, rows, hidden).flatten(1) @ self.dense_out

    def _walk_below(self, x: Tensor, node: Tensor) -> tuple[Tensor, Tensor]:
        """Go on from nodes (T, K) to the leaves; return the output (T, O) and the leaf (T, K)."""
        slots = []  # rows (T, K * slots) and their logits
        for _ in range(self.depth - self.dense_levels):
            slots.append(self._visit(x, node, 1))
            node = _child(node, slots[-1][1])
        if not self.node_output:
            slots = []
        slots.append(self._visit(x, self._leaf_row(node), self.leaf_size))
        rows, logits = (torch.cat(parts, 1) for parts in zip(*slots, strict=True))
        hidden = self.activation(logits).unsqueeze(1)  # (T, 1, slots)
        y = torch.matmul(hidden, self.w_out[rows]).squeeze(1)
        return y, node - tree.n_nodes(self.depth)

    def _visit(self, x: Tensor, first_row: Tensor, n_rows: int) -> tuple[Tensor, Tensor]:
        """Return rows (T, K * n_rows) from `first_row` (T, K) on, as gathered, and their logits."""
        start = torch.arange(self.n_trees) * self.n_gathered - self.n_dense
        rows = ((first_row + start).unsqueeze(2) + torch.arange(n_rows)).flatten(1)
        weights = self.w_in[rows]  # (T, K * n_rows, H)
        if rows.shape[1] == 1:  # ONNX Runtime is slow in products of one row with one column
            return rows, (weights * x.unsqueeze(1)).sum(2) + self.b_in[rows]
        return rows, torch.matmul(weights, x.unsqueeze(2)).squeeze(2) + self.b_in[rows]


def _child(node: Tensor, logit: Tensor) -> Tensor:
    return 2 * node + 1 + (logit > 0).long()


def unroll(model: PreTrainedModel) -> PreTrainedModel:
    """Return the model with unrolled fast feedforward layers; other weights are shared.

    Raises ValueError for weights that are not finite.
    """
    model = with_layers(model, UnrolledFeedForward)
    model.config = expanded_config(model.config)
    return model


def expanded_config(config: PreTrainedConfig) -> PreTrainedConfig:
    """Return a configuration for float32 weights in the place of quantized ones."""
    config = copy.deepcopy(config)
    if getattr(config, "weight_dtype", None):
        config.weight_dtype, config.exact_routing = None, False
    return config
