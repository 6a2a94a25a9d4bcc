"""Export of every architecture that converts: dense and converted, with heads, as image models."""

import pytest
import torch
from exported import open_file, operators_of, require_native
from tiny_architectures import BERT_LIKE, GATED, OTHERS, VISION, batch_for, strengthen, tiny_model
from transformers import (
    AutoModelForMaskedLM,
    AutoModelForSequenceClassification,
    AutoModelForTokenClassification,
)

from ultrafastbert.inference.engines.agreement import prove_equal
from ultrafastbert.inference.engines.onnx_export import export_onnx
from ultrafastbert.inference.engines.tracing import input_names
from ultrafastbert.models.converted.architectures import layers_of, location_of
from ultrafastbert.models.converted.model import converted_copy

pytestmark = [pytest.mark.engines, pytest.mark.slow]

FEED_FORWARD = "ultrafastbert::FastFeedForward"
ATTENTIONS = {"com.microsoft::Attention", "com.microsoft::MultiHeadAttention"}
# Their code computes attention itself; Longformer takes sizes from values, which cannot be traced.
OWN_ATTENTION = {"mpnet", "deberta", "deberta-v2", "xlm"}
NOT_TRACED = {"longformer"}
EXPORTED = [each for each in (*BERT_LIKE, *GATED, *OTHERS, *VISION) if each not in NOT_TRACED]
HEADS = [AutoModelForMaskedLM, AutoModelForSequenceClassification, AutoModelForTokenClassification]


def save(model, folder, ffn=("1x3x4", "2x2x3")):
    """Save a model whose FF layers matter, converted where they are named."""
    location = location_of(model)
    strengthen(model, location)
    if ffn:
        n_layers = len(layers_of(model, location))
        model = converted_copy(model, ffn[:n_layers], location)
    model.save_pretrained(folder)
    return model


@pytest.mark.parametrize("model_type", EXPORTED)
def test_converted_models_are_exported(model_type, tmp_path):
    require_native()
    save(tiny_model(model_type), tmp_path / "model")
    export = export_onnx(tmp_path / "model", tmp_path / "out", "native")
    assert export.error < 1e-5
    operators = operators_of(export.path)
    assert FEED_FORWARD in operators
    assert bool(ATTENTIONS & operators) == (model_type not in OWN_ATTENTION)


@pytest.mark.parametrize("model_type", ["bert", "modernbert", "mpnet", "vit"])
def test_int8_models_are_close(model_type, tmp_path):
    require_native()
    save(tiny_model(model_type), tmp_path / "model")
    export = export_onnx(tmp_path / "model", tmp_path / "out", "native", "int8")
    assert export.error < 1e-5
    assert export.int8.cosine > 0.9


@pytest.mark.parametrize("model_type", ["bert", "nomic_bert"])
@pytest.mark.parametrize("ffn", [(), ("none", None)], ids=["dense", "no FF layer"])
def test_baselines_are_exported_alike(model_type, ffn, tmp_path):
    require_native()
    save(tiny_model(model_type), tmp_path / "model", ffn)
    export = export_onnx(tmp_path / "model", tmp_path / "out", "native")
    assert export.error < 1e-5
    assert FEED_FORWARD not in operators_of(export.path)
    assert ATTENTIONS & operators_of(export.path)


@pytest.mark.parametrize("auto_class", HEADS)
@pytest.mark.parametrize("operator", ["native", "standard"])
def test_heads_are_exported(auto_class, operator, tmp_path):
    if operator == "native":
        require_native()
    pytest.importorskip("onnxscript")
    model = save(tiny_model("bert", auto_class), tmp_path / "model")
    export = export_onnx(tmp_path / "model", tmp_path / "out", operator)
    inputs = {**batch_for(model), "token_type_ids": torch.ones(2, 8, dtype=torch.int64)}
    with torch.no_grad():
        expected = model(**inputs)["logits"]
    got = open_file("ONNX Runtime", export.path)(inputs)["logits"]
    keep = inputs["attention_mask"].bool() if expected.dim() == 3 else slice(None)
    torch.testing.assert_close(got[keep], expected[keep], rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("model_type", ["bert", "roberta", "mpnet", "modernbert", "xlm", "vit"])
def test_standard_operators_run_in_openvino(model_type, tmp_path):
    pytest.importorskip("onnxscript")
    model = save(tiny_model(model_type), tmp_path / "model")
    export = export_onnx(tmp_path / "model", tmp_path / "out", "standard")
    assert not [name for name in operators_of(export.path) if "::" in name]
    run = open_file("OpenVINO", export.path)
    assert prove_equal(model, run, "OpenVINO", input_names(model)) < 1e-5


def test_what_cannot_be_traced_says_so_in_one_line(tmp_path):
    pytest.importorskip("onnxscript")
    save(tiny_model("longformer"), tmp_path / "model")
    with pytest.raises(RuntimeError, match="PyTorch cannot export the model: ") as caught:
        export_onnx(tmp_path / "model", tmp_path / "out", "standard")
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "out").exists() or not any((tmp_path / "out").iterdir())
