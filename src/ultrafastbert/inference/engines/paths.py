"""Paths that tokens take through a model, beside those in an exported file.

Sizes in comments: T tokens, K trees, D depth, H hidden.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import Module

from ultrafastbert.fff import tree
from ultrafastbert.fff.layer import FastFeedForward
from ultrafastbert.fff.quantization import dequantize
from ultrafastbert.inference.engines import native
from ultrafastbert.inference.engines.tracing import fast_layers

LEAF = "leaf_{}"  # output of the file for the layer call of this number


class Visit(NamedTuple):
    """What tokens do in one call of a layer: leaf (..., K), least margin of a path (..., K)."""

    leaf: Tensor
    margin: Tensor


def visits_of(model: Module, inputs: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], list[Visit]]:
    """Return a model's outputs, those that are tensors, and its tokens' paths by call."""
    visits: list[Visit] = []

    def look(layer: FastFeedForward, arguments: tuple[Tensor, ...]) -> None:
        visits.append(_visit(layer, arguments[0]))

    hooks = [layer.register_forward_pre_hook(look) for layer in fast_layers(model)]
    try:
        with torch.no_grad():
            outputs = model(**inputs, return_dict=True)
    finally:
        for hook in hooks:
            hook.remove()
    return {name: x for name, x in outputs.items() if isinstance(x, Tensor)}, visits


def _visit(layer: FastFeedForward, x: Tensor) -> Visit:
    leaf = layer.visited_leaves(x)  # (..., K)
    nodes = tree.path_rows(leaf, layer.depth, layer.leaf_size)[..., : layer.depth]
    w_in, b_in, _ = dequantize(layer.weights())
    trees = torch.arange(layer.n_trees)[:, None]
    rows, biases = w_in.detach()[trees, nodes], b_in.detach()[trees, nodes]  # (..., K, D, H)
    logits = (rows @ x[..., None, :, None]).squeeze(-1) + biases
    margins = logits.abs() / (rows.norm(dim=-1) * x.norm(dim=-1)[..., None, None])
    if not layer.depth:
        return Visit(leaf, torch.full_like(leaf, torch.inf, dtype=torch.float32))
    return Visit(leaf, margins.amin(-1))


@contextmanager
def with_leaves(path: Path) -> Iterator[Path]:
    """Give an ONNX file, for a while, that has the leaves of each layer call as outputs, too."""
    import onnx_ir

    model, checked = onnx_ir.load(path), path.with_name("checked.onnx")
    for number, node in enumerate(node for node in model.graph if node.domain == native.DOMAIN):
        leaf = node.outputs[1]
        leaf.name, leaf.type = LEAF.format(number), onnx_ir.TensorType(onnx_ir.DataType.INT64)
        model.graph.outputs.append(leaf)
    onnx_ir.save(model, checked)
    try:
        yield checked
    finally:
        checked.unlink()


def same_paths(
    visits: list[Visit], got: Mapping[str, Tensor], mask: Tensor | None, margin: float, what: str
) -> bool:
    """Return whether all tokens took the same paths, as far as the file has them as outputs.

    margin: the least |logit| / (|row| |input|) of a path's decisions where engines must agree, as
    they sum in another order. Raises RuntimeError where a decision that clears the margin differs.
    Calls after the first that differs are not looked at, for their inputs do.
    """
    for number, visit in enumerate(visits):
        if (leaf := got.get(LEAF.format(number))) is None:
            return True
        differs = leaf.view_as(visit.leaf) != visit.leaf
        if mask is not None and mask.shape == visit.leaf.shape[:-1]:
            differs &= mask.bool()[..., None]
        if (differs & (visit.margin > margin)).any():
            n_wrong, n_all = int(differs.sum()), differs.numel()
            raise RuntimeError(
                f"{what} takes other paths than the model in {n_wrong} of {n_all} cases, in layer "
                f"call {number}; it is not kept"
            )
        if differs.any():
            return False
    return True
