"""Export with our operator: the layer against the definition, whole models, and what is refused."""

import json

import numpy as np
import pytest
import torch
from exported import operators_of, require_native
from tiny_models import BIASES, ROTARY, every_class, inputs, tiny
from transformers import AutoConfig
from ultrafastbert_runtime import operator

from ultrafastbert import FastFeedForward, UltraFastBertModel
from ultrafastbert.fff.activations import ACTIVATIONS
from ultrafastbert.inference.engines import paths
from ultrafastbert.inference.engines.agreement import measure_closeness, prove_equal
from ultrafastbert.inference.engines.native import NativeFeedForward
from ultrafastbert.inference.engines.onnx_export import export_onnx, write_onnx
from ultrafastbert.inference.engines.program import write_program
from ultrafastbert.inference.engines.runtimes import ENGINES, open_session

pytestmark = pytest.mark.engines
FEED_FORWARD, ATTENTION = "ultrafastbert::FastFeedForward", "com.microsoft::Attention"

LAYERS = {
    "1x6": ((6, 1, 1), {}),
    "2x3x5": ((3, 2, 5), {}),
    "dense": ((0, 2, 3), {}),
    "routes only": ((4, 1, 8), {"node_output": False, "leaf_output_bias": True}),
    "shared block": ((5, 2, 1), {"shared_size": 7, "output_size": 9}),
    "leaf bias": ((4, 3, 2), {"leaf_output_bias": True}),
    "bfloat16": ((5, 1, 4), {"weight_dtype": "bfloat16"}),
    "int8": ((5, 2, 4), {"weight_dtype": "int8", "leaf_output_bias": True}),
    "int8, exact": ((5, 1, 4), {"weight_dtype": "int8", "exact_routing": True}),
    "bfloat16, exact": ((4, 1, 1), {"weight_dtype": "bfloat16", "exact_routing": True}),
    **{name: ((3, 1, 2), {"activation": name}) for name in ACTIVATIONS},
}


class Layers(torch.nn.Module):
    """Many layers at once, for an export takes seconds."""

    def __init__(self, layers):
        super().__init__()
        self.layers = torch.nn.ModuleList(NativeFeedForward(layer) for layer in layers)

    def forward(self, x):
        """Return the output of each."""
        return [layer(x) for layer in self.layers]


@pytest.fixture(scope="module")
def layers():
    torch.manual_seed(0)
    return [FastFeedForward(16, *sizes, **options).eval() for sizes, options in LAYERS.values()]


@pytest.mark.parametrize("shape", [(1, 1), (3, 5), (0, 4)])
def test_operator_computes_what_the_layer_does(layers, shape, tmp_path):
    require_native()
    path, names = tmp_path / "layers.onnx", [f"y_{number}" for number in range(len(layers))]
    sizes = {0: torch.export.Dim("batch"), 1: torch.export.Dim("sequence")}
    arguments = {"args": (torch.randn(2, 3, 16),), "dynamic_shapes": ({**sizes},)}
    write_program(
        Layers(layers).eval(), path, {}, input_names=["x"], output_names=names, **arguments
    )
    x = torch.randn(*shape, 16)
    outputs = ENGINES["ONNX Runtime"].open(path, 1)({"x": x})
    for name, layer, case in zip(names, layers, LAYERS, strict=True):
        with torch.no_grad():
            torch.testing.assert_close(
                outputs[name],
                layer(x),
                rtol=1e-5,
                atol=1e-5,
                msg=lambda text, case=case: f"{case}: {text}",
            )


def save(model, tokenizer, folder):
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def saved(tokenizer, tmp_path_factory):
    torch.manual_seed(0)
    model = UltraFastBertModel(tiny(vocab_size=len(tokenizer), tree_depth=6)).eval()
    return save(model, tokenizer, tmp_path_factory.mktemp("native") / "model")


@pytest.fixture(scope="module")
def exported(saved):
    require_native()
    return export_onnx(saved, saved.parent / "out")


def test_native_is_the_default_and_fused(exported):
    assert (exported.operator, exported.precision, exported.int8) == ("native", "fp32", None)
    assert exported.error < 1e-5
    assert {FEED_FORWARD, ATTENTION, "Gelu"} <= operators_of(exported.path)
    assert not {"Softmax", "Transpose"} & operators_of(exported.path)


def test_file_says_what_it_is(exported):
    onnx = pytest.importorskip("onnx")
    file = onnx.load(exported.path)
    assert {each.key: each.value for each in file.metadata_props} == {
        "architecture": "UltraFastBertModel",
        "ffn": "2x6x2+3",
        "max_position_embeddings": "16",
        "operator": "native",
        "precision": "fp32",
    }
    assert [each.name for each in file.graph.input] == ["input_ids", "attention_mask"]
    assert [each.name for each in file.graph.output] == ["last_hidden_state"]
    assert {each.domain for each in file.opset_import} >= {"ultrafastbert", "com.microsoft"}
    assert not [node.metadata_props for node in file.graph.node if node.metadata_props]


def test_int8_is_close_and_small(saved):
    require_native()
    torch.manual_seed(0)
    export = export_onnx(saved, saved.parent / "int8", precision="int8")
    assert export.error < 1e-5
    assert export.int8.error < 0.5
    assert export.int8.cosine > 0.9
    assert "com.microsoft::QAttention" in operators_of(export.path)
    assert "MatMul" not in operators_of(export.path)
    config = json.loads((export.path.parent / "config.json").read_text())
    assert config["weight_dtype"] == "int8"
    session = open_session(export.path)
    assert session.get_modelmeta().custom_metadata_map["precision"] == "int8"


@pytest.mark.parametrize("weight_dtype", ["int8", "bfloat16"])
def test_quantized_trees_stay_quantized(weight_dtype, saved, tokenizer, tmp_path):
    require_native()
    onnx = pytest.importorskip("onnx")
    model = UltraFastBertModel.from_pretrained(saved, weight_dtype=weight_dtype, exact_routing=True)
    folder = save(model, tokenizer, tmp_path / "model")
    export = export_onnx(folder, tmp_path / "out", "native")
    weights = {each.name: each.data_type for each in onnx.load(export.path).graph.initializer}
    kind = {"int8": onnx.TensorProto.INT8, "bfloat16": onnx.TensorProto.BFLOAT16}[weight_dtype]
    assert weights["model.layers.1.ffn.leaves"] == weights["model.layers.1.ffn.out"] == kind
    assert weights["model.layers.1.ffn.nodes"] == onnx.TensorProto.FLOAT
    assert AutoConfig.from_pretrained(export.path.parent).weight_dtype == weight_dtype


@pytest.mark.slow
@every_class
@pytest.mark.parametrize("precision", ["fp32", "int8"])
def test_every_head_is_exported(model_class, precision, tmp_path):
    require_native()
    torch.manual_seed(0)
    options = {"leaf_output_bias": True, **BIASES}
    model = model_class(tiny(**options)).eval()
    model.save_pretrained(tmp_path / "model")
    export = export_onnx(tmp_path / "model", tmp_path / "out", "native", precision)
    given = inputs(model_class)
    with torch.no_grad():
        expected = model(**given)
    got = ENGINES["ONNX Runtime"].open(export.path, 1)(given)
    assert list(got) == list(expected)
    if precision == "fp32":
        valid = given["attention_mask"].bool()
        for name, output in expected.items():
            pick = valid if output.shape[: valid.dim()] == valid.shape else slice(None)
            torch.testing.assert_close(got[name][pick], output[pick], rtol=1e-4, atol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("options", [ROTARY, {"ffn_type": "glu"}, {"ffn_type": "none"}], ids=str)
def test_every_kind_of_model_is_exported(options, tmp_path):
    require_native()
    torch.manual_seed(0)
    UltraFastBertModel(tiny(**options)).eval().save_pretrained(tmp_path / "model")
    assert export_onnx(tmp_path / "model", tmp_path / "out", "native").error < 1e-5


def test_large_weights_lie_on_pages_of_a_file_beside(tokenizer, tmp_path):
    require_native()
    onnx = pytest.importorskip("onnx")
    torch.manual_seed(0)
    model = UltraFastBertModel(tiny(tree_depth=10, n_trees=1, num_hidden_layers=1)).eval()
    export = export_onnx(save(model, tokenizer, tmp_path / "model"), tmp_path / "out", "native")
    tensors = onnx.load(export.path, load_external_data=False).graph.initializer
    entries = [{e.key: e.value for e in t.external_data} for t in tensors if t.external_data]
    assert {entry["location"] for entry in entries} == {"model.onnx.data"}
    assert all(int(entry["offset"]) % 4096 == 0 for entry in entries)
    assert (export.path.parent / "model.onnx.data").stat().st_size > 2**18


def test_wrong_paths_are_noticed(saved, tmp_path):
    require_native()
    model = UltraFastBertModel.from_pretrained(saved).eval()
    write_onnx(model, tmp_path / "model.onnx", "native")
    with torch.no_grad():
        model.layers[0].ffn.w_in.neg_()
    with paths.with_leaves(tmp_path / "model.onnx") as checked:
        run = ENGINES["ONNX Runtime"].open(checked, 1)
        with pytest.raises(
            RuntimeError, match=r"takes other paths than the model in .* layer call 0"
        ):
            prove_equal(model, run, "the engine")
    assert not checked.exists()


def test_wrong_int8_outputs_are_noticed(saved):
    model = UltraFastBertModel.from_pretrained(saved).eval()

    def wrong(given):
        return {"last_hidden_state": torch.randn(*given["input_ids"].shape, 32)}

    batches = [inputs(UltraFastBertModel)]
    with pytest.raises(RuntimeError, match="differs from the model too much: relative error 1"):
        measure_closeness(model, wrong, batches, "the engine")


def test_a_mask_hides_padding(exported):
    session = open_session(exported.path)
    ids = np.random.default_rng(0).integers(5, 60, (2, 9))
    mask = np.ones_like(ids)
    mask[1, 4:] = 0
    (before,) = session.run(None, {"input_ids": ids, "attention_mask": mask})
    ids[1, 4:] = 7
    (after,) = session.run(None, {"input_ids": ids, "attention_mask": mask})
    np.testing.assert_allclose(before[1, :4], after[1, :4], atol=1e-5)


def test_missing_operator_is_named(saved, tmp_path, exported, monkeypatch):
    engines = "ultrafastbert.inference.engines"
    monkeypatch.setattr(operator, "__file__", str(tmp_path / "operator.py"))
    with pytest.raises(FileNotFoundError, match="reinstall ultrafastbert-runtime"):
        export_onnx(saved, tmp_path / "out", "native")
    with pytest.raises(FileNotFoundError, match="reinstall ultrafastbert-runtime"):
        open_session(exported.path)
    monkeypatch.setattr(f"{engines}.onnx_export.load_any", lambda _: 1 / 0)
    with pytest.raises(ZeroDivisionError):  # chosen without an error
        export_onnx(saved, tmp_path / "out")
