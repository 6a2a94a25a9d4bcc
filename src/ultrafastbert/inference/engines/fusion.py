"""What ONNX Runtime does not fuse by itself, and what it had better not fuse.

The projections of attention are packed into one product, as its `Attention` has them: one product
of three times the width takes less time than three, and int8 inputs are quantized once. Sizes in
comments: B batch, S sequence, H hidden, A heads.
"""

from typing import Any, NamedTuple

import numpy as np

from ultrafastbert.inference.engines.attention import DOMAIN, OPERATOR

PACKED = "Attention"


class Projection(NamedTuple):
    """A product with constant weights (H, n) and a bias (n), None for none, of one value."""

    of: Any
    weight: Any
    bias: Any


def pack_attention(model: Any) -> int:
    """Replace each attention whose inputs are projections of one value; return how many are."""
    weights: dict[Any, tuple[Any, Any]] = {}  # by projections: layers may share theirs
    found = [node for node in model.graph if (node.domain, node.op_type) == (DOMAIN, OPERATOR)]
    n_packed = sum(_pack(model, node, weights) for node in found)
    _remove_reshapes(model)
    return n_packed


def keep_norms_apart(model: Any) -> None:
    """Write sums ahead of a norm so that ONNX Runtime does not fuse the two.

    Its `SkipLayerNormalization` takes 250 us for 128 tokens of 384 on a processor where the sum and
    the norm take 18 and 32 us: a fifth of MiniLM's time in int8.
    """
    for node in model.graph:
        before = node.inputs[0].producer() if node.op_type == "LayerNormalization" else None
        if before is not None and before.op_type == "Add":
            before.op_type = "Sum"


def _remove_reshapes(model: Any) -> None:
    """Remove reshapes that end in the shape they began with, and nodes without use."""
    from onnx_ir.passes.common import RemoveUnusedNodesPass

    for node in [node for node in model.graph if node.op_type == "Reshape"]:
        value, (reshaped,) = _reshaped(node.inputs[0]), node.outputs
        is_same = value.shape is not None and value.shape == reshaped.shape
        if is_same and not reshaped.is_graph_output():
            reshaped.replace_all_uses_with(value)
    RemoveUnusedNodesPass()(model)


def _pack(model: Any, node: Any, weights: dict[Any, tuple[Any, Any]]) -> bool:
    import onnx_ir

    query, key, value, _, padding, bias = (*node.inputs, None, None, None)[:6]
    of, parts = _projections(query, key, value)
    if bias is not None or not parts:  # the int8 form has no bias of scores
        return False
    names = tuple((part.weight.name, part.bias and part.bias.name) for part in parts)
    if names not in weights:
        weights[names] = _packed_weights(model, parts)
    packed = onnx_ir.node(
        PACKED, [of, *weights[names], padding], node.attributes, domain=DOMAIN, name=node.name
    )
    model.graph.insert_before(node, packed)
    _take_place(node, packed)
    return True


def _take_place(node: Any, other: Any) -> None:
    """Make all that uses a node use another one."""
    (before,), (after,) = node.outputs, other.outputs
    after.shape, after.type = before.shape, before.type
    before.replace_all_uses_with(after)
    node.graph.remove(node, safe=True)


def _projections(*values: Any) -> tuple[Any, list[Projection]]:
    """Return a value and the products that query, key and value are of it; no products if not."""
    thirds = [_third(value) for value in values]
    wholes = {id(whole): whole for whole, _ in thirds}
    if len(wholes) == 1 and [number for _, number in thirds] == [0, 1, 2]:
        whole = _projection(thirds[0][0])  # one product, split by the model
        return (whole.of, [whole]) if whole else (None, [])
    found = [_projection(_reshaped(value)) for value in values]
    parts = [part for part in found if part is not None]
    if len(parts) < len(found) or len({id(part.of) for part in parts}) > 1:
        return None, []
    return parts[0].of, parts


def _reshaped(value: Any) -> Any:
    """Return the value whose elements, in their order, another one has."""
    while (node := value.producer()) is not None and node.op_type == "Reshape":
        value = node.inputs[0]
    return value


def _third(value: Any) -> tuple[Any, int | None]:
    """Return what was split as (B, S, 3, A, h) into query, key and value, and the number of one."""
    squeeze = _reshaped(value).producer()
    part = squeeze.inputs[0].producer() if squeeze and squeeze.op_type == "Squeeze" else None
    if part is None or part.op_type != "Slice":
        return None, None
    whole, start, _, axis = part.inputs[:4]
    is_of_three = whole.shape is not None and len(whole.shape) == 5 and whole.shape[2] == 3
    if not is_of_three or axis.const_value.numpy().item() % 5 != 2:
        return None, None
    return _reshaped(whole), int(start.const_value.numpy().item())


def _projection(value: Any) -> Projection | None:
    """Return the product, with or without bias, that gives a value."""
    node, bias = value.producer(), None
    if node is not None and node.op_type == "Add":
        value, bias = node.inputs
        if bias.const_value is None:
            value, bias = bias, value
        node = value.producer()
    if node is None or node.op_type != "MatMul" or node.inputs[1].const_value is None:
        return None
    if bias is not None and bias.const_value is None:
        return None
    return Projection(node.inputs[0], node.inputs[1], bias)


def _packed_weights(model: Any, parts: list[Projection]) -> tuple[Any, Any]:
    """Return initializers (H, 3 H) and (3 H): projections side by side, zeros for no bias."""
    matrices = [part.weight.const_value.numpy() for part in parts]
    biases = [
        np.zeros(matrix.shape[1], np.float32)
        if part.bias is None
        else part.bias.const_value.numpy()
        for part, matrix in zip(parts, matrices, strict=True)
    ]
    name = f"{parts[0].weight.name}.packed"
    bias = _initializer(model, f"{name}.bias", np.concatenate(biases))
    if len(parts) == 1:
        return parts[0].weight, bias
    return _initializer(model, name, np.concatenate(matrices, 1)), bias


def _initializer(model: Any, name: str, array: np.ndarray) -> Any:
    import onnx_ir

    tensor = onnx_ir.tensor(array, name=name)
    shape, kind = onnx_ir.Shape(array.shape), onnx_ir.TensorType(tensor.dtype)
    value = onnx_ir.Value(name=name, const_value=tensor, shape=shape, type=kind)
    model.graph.register_initializer(value)
    return value
