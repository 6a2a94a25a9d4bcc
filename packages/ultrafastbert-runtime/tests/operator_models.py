"""Models of one operator, and sessions that run them."""

import os
from functools import cache
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper
from operator_layers import Layer

ONNX_TYPES = {
    np.dtype(np.float32): TensorProto.FLOAT,
    np.dtype(np.float64): TensorProto.DOUBLE,
    np.dtype(np.int8): TensorProto.INT8,
    np.dtype(np.uint16): TensorProto.BFLOAT16,  # its bits
}
Initializers = dict[str, np.ndarray | None]


@cache
def library() -> Path:
    """Return the library to test: ULTRAFASTBERT_OPERATOR names one that is not installed."""
    if path := os.environ.get("ULTRAFASTBERT_OPERATOR"):
        return Path(path)
    from ultrafastbert_runtime import operator

    return operator.library_path()


def tensor(name: str, array: np.ndarray) -> onnx.TensorProto:
    """Return an initializer."""
    data = np.ascontiguousarray(array).tobytes()
    return TensorProto(
        name=name, data_type=ONNX_TYPES[array.dtype], dims=array.shape, raw_data=data
    )


def model(
    inputs: Initializers,
    attributes: dict[str, int | str],
    hidden_size: int,
    *,
    lead: tuple[str | int | None, ...] = ("tokens",),
    x_type: int = TensorProto.FLOAT,
    with_leaf: bool = True,
    graph_inputs: tuple[str, ...] = (),
) -> onnx.ModelProto:
    """Return a model x (*lead, H) -> y and, if asked for, leaf.

    Those of `inputs` that `graph_inputs` names are inputs of the graph, not initializers.
    """
    names = ["x", *(name if array is not None else "" for name, array in inputs.items())]
    while names[-1] == "":
        names.pop()
    outputs = ["y", "leaf"] if with_leaf else ["y"]
    node = helper.make_node(
        "FastFeedForward", names, outputs, name="ff", domain="ultrafastbert", **attributes
    )
    given = {name: array for name, array in inputs.items() if array is not None}
    types = {"y": TensorProto.FLOAT, "leaf": TensorProto.INT64}
    graph = helper.make_graph(
        [node],
        "graph",
        [
            helper.make_tensor_value_info("x", x_type, [*lead, hidden_size]),
            *(
                helper.make_tensor_value_info(name, ONNX_TYPES[given[name].dtype], None)
                for name in graph_inputs
            ),
        ],
        [helper.make_tensor_value_info(name, types[name], None) for name in outputs],
        [tensor(name, array) for name, array in given.items() if name not in graph_inputs],
    )
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("ultrafastbert", 1)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=9)


def layer_model(layer: Layer, **options: object) -> onnx.ModelProto:
    """Return the model of a layer, see `model`."""
    return model(layer.inputs(), layer.sizes.attributes, layer.sizes.hidden_size, **options)


def session(source: onnx.ModelProto | Path, n_threads: int = 1) -> onnxruntime.InferenceSession:
    """Open a model that uses the operator."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = n_threads
    options.register_custom_ops_library(str(library()))
    what = str(source) if isinstance(source, Path) else source.SerializeToString()
    return onnxruntime.InferenceSession(what, options, providers=["CPUExecutionProvider"])


def run(layer: Layer, x: np.ndarray, n_threads: int = 1) -> tuple[np.ndarray, np.ndarray]:
    """Return y (..., O) and leaf (..., K) of x (..., H)."""
    lead = tuple(f"size{i}" for i in range(x.ndim - 1))
    y, leaf = session(layer_model(layer, lead=lead), n_threads).run(None, {"x": x})
    return y, leaf
