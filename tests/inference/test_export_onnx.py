"""Export to ONNX: the unrolled layer against the definition, whole models in the engines."""

import json

import pytest
import torch
from tiny_models import BIASES, ROTARY, tiny
from transformers import AutoTokenizer

from ultrafastbert import (
    FastFeedForward,
    UltraFastBertForMaskedLM,
    UltraFastBertForMultipleChoice,
    UltraFastBertForSentenceEmbedding,
    UltraFastBertModel,
)
from ultrafastbert.fff import reference
from ultrafastbert.fff.activations import ACTIVATIONS
from ultrafastbert.inference.engines.agreement import prove_equal
from ultrafastbert.inference.engines.onnx_export import export_onnx
from ultrafastbert.inference.engines.program import write_program
from ultrafastbert.inference.engines.runtimes import ENGINES
from ultrafastbert.inference.engines.tracing import example_inputs
from ultrafastbert.inference.engines.unrolled import UnrolledFeedForward

pytestmark = pytest.mark.engines

# D, K, L: around the top levels that are dense, and narrow and wide leaves.
FAMILIES = [
    (0, 1, 1),
    (0, 2, 3),
    (1, 1, 1),
    (3, 2, 40),
    (4, 3, 2),
    (5, 1, 1),
    (5, 1, 64),
    (6, 1, 1),
    (7, 1, 8),
    (8, 3, 1),
    (11, 1, 1),
]
EXPORTED = [(0, 2, 3), (2, 2, 20), (6, 1, 1), (6, 2, 3)]

MODELS = {
    "masked LM": (UltraFastBertForMaskedLM, {**BIASES, "leaf_output_bias": True, "tree_depth": 6}),
    "multiple choice": (UltraFastBertForMultipleChoice, {**ROTARY, "ffn_type": "glu"}),
    "quantized": (UltraFastBertForSentenceEmbedding, {**ROTARY, "tree_depth": 7}),
}


def integer_layer(depth, n_trees, leaf_size, hidden_size=6, **options):
    """Return a layer whose weights are small integers: every engine computes the same logits."""
    torch.manual_seed(depth + n_trees + leaf_size)
    options = {"activation": "relu", "output_size": 5, **options}
    layer = FastFeedForward(hidden_size, depth, n_trees, leaf_size, **options)
    for parameter in layer.parameters():
        torch.nn.init.trunc_normal_(parameter.data, std=2.0, a=-4, b=4).round_()
    return layer


def integers(n_tokens, hidden_size=6):
    return torch.randint(-4, 5, (n_tokens, hidden_size)).float()


@pytest.mark.parametrize("node_output", [True, False])
@pytest.mark.parametrize("family", FAMILIES)
def test_unrolled_layer_takes_the_same_paths(family, node_output):
    layer = integer_layer(*family, node_output=node_output, shared_size=3, leaf_output_bias=True)
    unrolled = UnrolledFeedForward(layer)
    for n_tokens in (0, 1, 70):
        x = integers(n_tokens)
        with torch.no_grad():
            assert torch.equal(unrolled(x), layer(x))
            assert torch.equal(unrolled.walk(x)[1], layer.visited_leaves(x))


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_unrolled_layer_equals_the_definition(activation):
    layer = FastFeedForward(16, 7, 2, 3, output_size=9, activation=activation)
    x = torch.randn(4, 5, 16)
    expected = reference.fast_feedforward_reference(
        x.flatten(0, 1), layer.w_in, layer.b_in, layer.w_out, layer.spec
    )
    torch.testing.assert_close(UnrolledFeedForward(layer)(x), expected.view(4, 5, 9))


def test_weights_that_are_not_finite_are_refused():
    layer = integer_layer(3, 1, 1)
    layer.w_out.data[0, 2, 0] = float("nan")
    with pytest.raises(ValueError, match="w_out holds NaN"):
        UnrolledFeedForward(layer)


class Families(torch.nn.Module):
    """Several families at once, for an export takes seconds."""

    def __init__(self):
        super().__init__()
        self.layers = torch.nn.ModuleList(
            UnrolledFeedForward(integer_layer(*family)) for family in EXPORTED
        )

    def forward(self, x):
        """Return an output and the leaves for each family."""
        return [tensor for layer in self.layers for tensor in layer.walk(x)]


def open_file(engine, path):
    """Return a function that runs an ONNX file; skip the test where the engine is missing."""
    pytest.importorskip(ENGINES[engine].package)
    return ENGINES[engine].open(path, 1)


@pytest.fixture(scope="module")
def families_file(tmp_path_factory):
    pytest.importorskip("onnxscript")
    path = tmp_path_factory.mktemp("onnx") / "families.onnx"
    arguments = {"args": (integers(3),), "dynamic_shapes": ({0: torch.export.Dim("tokens")},)}
    names = [f"{what}_{number}" for number in range(len(EXPORTED)) for what in ("y", "leaf")]
    arguments |= {"input_names": ["x"], "output_names": names}
    write_program(Families().eval(), path, {}, **arguments)
    return path


@pytest.mark.slow
@pytest.mark.parametrize("engine", ENGINES)
def test_engines_take_the_same_paths(engine, families_file):
    run = open_file(engine, families_file)
    layers = [integer_layer(*family) for family in EXPORTED]
    for n_tokens in (1, 70):
        x = integers(n_tokens)
        outputs = run({"x": x})
        for number, layer in enumerate(layers):
            assert torch.equal(outputs[f"leaf_{number}"], layer.visited_leaves(x)), layer
            assert torch.equal(outputs[f"y_{number}"], layer(x)), layer


@pytest.fixture(scope="module", params=MODELS)
def exported(request, tokenizer, tmp_path_factory):
    """A saved model and the folder of its export."""
    pytest.importorskip("onnxscript")
    folder = tmp_path_factory.mktemp("export")
    model_class, options = MODELS[request.param]
    torch.manual_seed(0)
    model = model_class(tiny(num_hidden_layers=1, **options)).eval()
    if request.param == "quantized":
        model.quantize_("int8", exact_routing=True)
    model.save_pretrained(folder / "model")
    tokenizer.save_pretrained(folder / "model")
    export = export_onnx(folder / "model", folder / "out", "standard")
    assert export.error is None or export.error < 1e-5
    return model, export.path


@pytest.mark.slow
@pytest.mark.parametrize("engine", ENGINES)
def test_engines_compute_what_the_model_does(engine, exported):
    model, path = exported
    assert prove_equal(model, open_file(engine, path), engine) < 1e-5


def test_export_holds_what_a_user_needs(exported):
    onnx = pytest.importorskip("onnx")
    _, path = exported
    names = {file.name for file in path.parent.iterdir()} - {"model.onnx.data"}  # of large weights
    assert names == {"config.json", "model.onnx", "tokenizer.json", "tokenizer_config.json"}
    assert AutoTokenizer.from_pretrained(path.parent).model_max_length == 16
    assert json.loads((path.parent / "config.json").read_text())["weight_dtype"] is None
    file = onnx.load(path)
    onnx.checker.check_model(file)
    assert {domain.domain for domain in file.opset_import} == {""}
    assert not any(node.domain or node.metadata_props for node in file.graph.node)
    assert [entry.name for entry in file.graph.input] == ["input_ids", "attention_mask"]
    sizes = [size.dim_param for size in file.graph.input[0].type.tensor_type.shape.dim]
    assert sizes in (["batch", "sequence"], ["batch", "choices", "sequence"])
    assert {entry.key: entry.value for entry in file.metadata_props}["max_position_embeddings"]


def test_more_tokens_than_positions_are_an_error(exported):
    model, path = exported
    run = open_file("ONNX Runtime", path)
    if model.config.position_embedding_type == "rotary":
        pytest.skip("rotary positions have no end")
    with pytest.raises(Exception, match="17"):
        run(example_inputs(model, 1, model.config.max_position_embeddings + 1))


def test_what_cannot_be_exported(tmp_path):
    pytest.importorskip("onnxscript")
    with pytest.raises(FileNotFoundError, match=r"no config\.json"):
        export_onnx(tmp_path, tmp_path / "out")
    tiny(architectures=["BertModel"]).save_pretrained(tmp_path)
    with pytest.raises(FileExistsError, match="not empty"):
        export_onnx(tmp_path, tmp_path)
    with pytest.raises(OSError, match=r"no file named model\.safetensors"):
        export_onnx(tmp_path, tmp_path / "out")
    assert not (tmp_path / "out" / "config.json").exists()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"operator": "fast"}, "operator='fast' is unknown; choose one of native, standard"),
        ({"precision": "int4"}, "precision='int4' is unknown; choose one of fp32, int8"),
    ],
)
def test_unknown_options_are_named(tmp_path, options, message):
    with pytest.raises(ValueError, match=message):
        export_onnx(tmp_path, tmp_path / "out", **options)


def test_missing_packages_are_named(tmp_path, monkeypatch):
    monkeypatch.setattr("ultrafastbert.imports.extras.find_spec", lambda name: None)
    with pytest.raises(ImportError, match=r"pip install 'ultrafastbert\[onnx\]'"):
        export_onnx(tmp_path, tmp_path / "out")


def test_a_failed_export_leaves_nothing(tmp_path, monkeypatch):
    UltraFastBertModel(tiny()).save_pretrained(tmp_path / "model")

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("ultrafastbert.inference.engines.onnx_export.write_onnx", full)
    monkeypatch.setattr("ultrafastbert.inference.engines.onnx_export.require", lambda *_: None)
    with pytest.raises(OSError, match="No space"):
        export_onnx(tmp_path / "model", tmp_path / "out")
    assert [path.name for path in tmp_path.iterdir()] == ["model"]


def test_a_wrong_export_is_noticed():
    model = UltraFastBertModel(tiny()).eval()

    def wrong(inputs):
        return {"last_hidden_state": model(**inputs).last_hidden_state + 1e-2}

    with pytest.raises(RuntimeError, match="differs from the model by"), torch.no_grad():
        prove_equal(model, wrong, "the engine")
