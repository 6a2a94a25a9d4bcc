"""Converted models: loaded with and without heads, named errors, weights that are kept."""

import pytest
import torch
from safetensors.torch import load_file, save_file
from tiny_architectures import tiny_model
from transformers import (
    AutoModel,
    AutoModelForMaskedLM,
    AutoModelForSequenceClassification,
    BertForMaskedLM,
)

from ultrafastbert.distill import ConvertConfig
from ultrafastbert.models.converted.feedforward import ConvertedFeedForward
from ultrafastbert.models.converted.folder import load_dense, save_converted
from ultrafastbert.models.converted.model import converted_copy


def test_headed_models_convert_and_load_from_encoders(ids, tmp_path):
    model = tiny_model(auto_class=AutoModelForMaskedLM)
    converted = converted_copy(model, ["1x2x3", "ff:4"])
    assert isinstance(converted, BertForMaskedLM)
    converted.save_pretrained(tmp_path)
    loaded = AutoModelForMaskedLM.from_pretrained(tmp_path)
    assert torch.equal(loaded(ids).logits, converted(ids).logits)
    classifier = AutoModelForSequenceClassification.from_pretrained(tmp_path, num_labels=3)
    assert classifier(ids).logits.shape == (2, 3)
    encoder = converted.base_model(ids).last_hidden_state
    assert torch.equal(classifier.base_model(ids).last_hidden_state, encoder)


def test_a_model_without_changes_is_the_original(ids):
    model = tiny_model()
    expected = model(ids).last_hidden_state
    assert torch.equal(converted_copy(model, [None, None])(ids).last_hidden_state, expected)


def test_what_cannot_be_converted_is_named():
    with pytest.raises(ValueError, match="names 1 layers, but the model has 2"):
        converted_copy(tiny_model(), ["1x2"])
    with pytest.raises(ValueError, match="ffn='ff:4' must be a fast feedforward layer"):
        ConvertConfig("ff:4")
    with pytest.raises(ValueError, match="steps=0 must be at least 1"):
        ConvertConfig(steps=0)
    with pytest.raises(ValueError, match="gated"):
        ConvertedFeedForward(8, "glu:4")


def test_missing_weights_of_a_layer_are_an_error(tmp_path):
    converted_copy(tiny_model(), ["1x2x3", None]).save_pretrained(tmp_path)
    weights = load_file(tmp_path / "model.safetensors")
    del weights["encoder.layer.0.intermediate.inner.w_in"]
    save_file(weights, tmp_path / "model.safetensors", {"format": "pt"})
    with pytest.raises(ValueError, match=r"lacks weights of the model: .*inner\.w_in"):
        AutoModel.from_pretrained(tmp_path)


def test_what_was_stored_in_low_precision_is_trained_in_float32(dense_folder, tmp_path):
    AutoModel.from_pretrained(dense_folder).half().save_pretrained(tmp_path / "half")
    model = load_dense(tmp_path / "half")
    assert {parameter.dtype for parameter in model.parameters()} == {torch.float32}
    assert converted_copy(model, [None, "1x2x3"]).config.dtype == torch.float32


def test_modules_after_the_model_keep_their_weights(dense_folder, tmp_path):
    st = pytest.importorskip("sentence_transformers")
    dense = st.SentenceTransformer(str(dense_folder), device="cpu")
    dense.append(st.sentence_transformer.modules.Dense(16, 4))
    dense.save(str(tmp_path / "dense"))
    model = converted_copy(load_dense(tmp_path / "dense"), [None, "1x2x3"])
    save_converted(model, tmp_path / "dense", tmp_path / "out")
    loaded = st.SentenceTransformer(str(tmp_path / "out"), device="cpu")
    assert torch.equal(loaded[2].linear.weight, dense[2].linear.weight)
    assert loaded.encode(["the small tree"]).shape == (1, 4)
