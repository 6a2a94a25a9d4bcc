"""The operator in graphs: what it refuses, shapes, weights in a file of their own."""

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto
from operator_layers import Sizes, random_layer, random_tokens, rows_of
from operator_models import layer_model, library, model, run, session

LAYER = random_layer(Sizes())
INPUTS, ATTRIBUTES = LAYER.inputs(), LAYER.sizes.attributes
NAN = np.full((1, 8), np.nan, np.float32)
WRONG_INPUTS = {
    "leaves has shape (1, 7, 5)": {"leaves": INPUTS["leaves"][:, :-1]},
    "leaves has shape (8, 5) and not three sizes": {"leaves": INPUTS["leaves"][0]},
    "hidden_size=0 must be within": {"leaves": INPUTS["leaves"][:, :, :0]},
    "n_trees=0 must be": {"leaves": INPUTS["leaves"][:0]},
    "it must be (1, 15, 7)": {"out": INPUTS["out"][:, 1:]},
    "nodes has shape (1, 7, 4)": {"nodes": INPUTS["nodes"][:, :, 1:]},
    "bias has shape (15, 1)": {"bias": INPUTS["bias"].T},
    "the input nodes is missing": {"nodes": None},
    "leaves is int8 and needs the input leaf_scale": {"leaves": INPUTS["leaves"].astype(np.int8)},
    "out is float64 and must be float32, bfloat16 or int8": {"out": INPUTS["out"].astype(float)},
    "input parameter (bias)": {"bias": INPUTS["bias"].astype(float)},
    "leaf_scale has shape (1, 7)": {"leaf_scale": NAN[:, 1:]},
    "leaf_scale holds nan at (0, 0) and must be finite": {"leaf_scale": NAN},
}
WRONG_ATTRIBUTES = {
    "activation='swish' must be one of gelu, ": {"activation": "swish"},
    "depth=31 must be within 0..30": {"depth": 31},
    "depth=-1 must be within": {"depth": -1},
    "leaf_size=-2 must be within": {"leaf_size": -2},
    "leaf_size=9223372036854775807 must be": {"leaf_size": 2**63 - 1},
    "node_output=2 must be 0 or 1": {"node_output": 2},
    "the attribute depth is missing or not an integer": {"depth": 0.5},
    "the attribute activation is missing or not a string": {"activation": 1},
}


def refusal(source: onnx.ModelProto | Path) -> str:
    with pytest.raises(Exception, match="ONNXRuntimeError") as caught:
        session(source)
    message = str(caught.value)
    assert "\n" not in message
    return message


@pytest.mark.parametrize("message", WRONG_INPUTS)
def test_wrong_weights_are_named(message: str) -> None:
    assert message in refusal(model({**INPUTS, **WRONG_INPUTS[message]}, ATTRIBUTES, 5))


@pytest.mark.parametrize("message", WRONG_ATTRIBUTES)
def test_wrong_attributes_are_named(message: str) -> None:
    assert message in refusal(model(INPUTS, {**ATTRIBUTES, **WRONG_ATTRIBUTES[message]}, 5))


@pytest.mark.parametrize("name", ["depth", "leaf_size", "activation", "node_output"])
def test_attributes_are_required(name: str) -> None:
    attributes = {key: value for key, value in ATTRIBUTES.items() if key != name}
    assert f"'ff': the attribute {name} is missing" in refusal(model(INPUTS, attributes, 5))


@pytest.mark.parametrize("name", ["nodes", "leaves", "out", "bias"])
def test_weights_must_be_constant(name: str) -> None:
    assert f"the input {name} is not constant" in refusal(
        model(INPUTS, ATTRIBUTES, 5, graph_inputs=(name,))
    )


def test_scales_must_be_constant() -> None:
    inputs = {**INPUTS, "leaf_scale": np.ones((1, 8), np.float32)}
    message = refusal(model(inputs, ATTRIBUTES, 5, graph_inputs=("leaf_scale",)))
    assert "the input leaf_scale is not constant" in message


def test_depth_0_has_no_nodes() -> None:
    layer = random_layer(Sizes(depth=0))
    nodes = np.ones((1, 1, 5), np.float32)
    message = refusal(model({**layer.inputs(), "nodes": nodes}, layer.sizes.attributes, 5))
    assert "nodes has shape (1, 1, 5)" in message


def test_x_must_be_float32() -> None:
    assert "input parameter (x)" in refusal(model(INPUTS, ATTRIBUTES, 5, x_type=TensorProto.DOUBLE))


@pytest.mark.parametrize("shape", [(), (6,), (2, 6), (5, 0)])
def test_x_of_another_size_is_refused(shape: tuple[int, ...]) -> None:
    source = layer_model(LAYER)
    source.graph.input[0].type.tensor_type.ClearField("shape")
    opened = session(source)
    with pytest.raises(Exception, match="its last size must be 5") as caught:
        opened.run(None, {"x": np.zeros(shape, np.float32)})
    assert f"'ff': x has shape ({', '.join(map(str, shape))})" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_y_that_does_not_fit_memory_is_an_error() -> None:
    layer = random_layer(Sizes(depth=0, hidden_size=1, output_size=1 << 20))
    with pytest.raises(Exception, match="FastFeedForward 'ff': ") as caught:
        session(layer_model(layer)).run(None, {"x": np.zeros((1 << 26, 1), np.float32)})
    assert "\n" not in str(caught.value)


VERSION = tuple(int(part) for part in onnxruntime.__version__.split(".")[:2])


@pytest.mark.skipif(VERSION < (1, 24), reason="shapes are inferred from ONNX Runtime 1.24 on")
def test_shapes_reach_the_outputs() -> None:
    for lead, expected in [
        (("batch", "sequence"), ["batch", "sequence", 7]),
        ((3,), [3, 7]),
        ((), [7]),
    ]:
        assert session(layer_model(LAYER, lead=lead)).get_outputs()[0].shape == expected
    int8 = random_layer(Sizes(), ("float32", "int8", "int8"))  # node_scale is omitted
    assert session(layer_model(int8, lead=(2,))).get_outputs()[0].shape == [2, 7]


def test_unnamed_sizes_are_left_open() -> None:
    opened = session(layer_model(LAYER, lead=(None, 2)))
    x = random_tokens((3, 2, 5))
    assert opened.run(None, {"x": x})[0].shape == (3, 2, 7)


def save_outside(source: onnx.ModelProto, folder: Path) -> Path:
    """Save a model with its initializers in a file of their own; return its path."""
    path = folder / "model.onnx"
    onnx.save(
        source, path, save_as_external_data=True, location="model.onnx.data", size_threshold=0
    )
    return path


def test_weights_at_odd_places_of_a_file(tmp_path: Path) -> None:
    layer, x = random_layer(Sizes(), ("int8", "bfloat16", "float32")), random_tokens((40, 5))
    path = save_outside(layer_model(layer), tmp_path)
    shifted = onnx.load(path, load_external_data=False)
    data = (tmp_path / "model.onnx.data").read_bytes()
    (tmp_path / "model.onnx.data").write_bytes(b"-" + data)
    for initializer in shifted.graph.initializer:
        for entry in initializer.external_data:
            if entry.key == "offset":
                entry.value = str(int(entry.value) + 1)
    path.write_bytes(shifted.SerializeToString())
    y, leaf = session(path).run(None, {"x": x})
    expected_y, expected_leaf = run(layer, x)
    assert np.array_equal(y, expected_y)
    assert np.array_equal(leaf, expected_leaf)


def test_truncated_weights_are_refused(tmp_path: Path) -> None:
    path = save_outside(layer_model(LAYER), tmp_path)
    with (tmp_path / "model.onnx.data").open("r+b") as file:
        file.truncate(100)
    assert "Deserialize tensor" in refusal(path)


def test_rows_of_bfloat16_are_those_of_float32_cut_off() -> None:
    values = np.float32([[[1.0, -2.5, 0.1]]])
    assert np.abs(rows_of(values, "bfloat16").values - values).max() < 2**-8


def test_library_is_registered_once_for_each_options() -> None:
    options = onnxruntime.SessionOptions()
    options.register_custom_ops_library(str(library()))
    for _ in range(2):  # sessions share options
        onnxruntime.InferenceSession(layer_model(LAYER).SerializeToString(), options)
