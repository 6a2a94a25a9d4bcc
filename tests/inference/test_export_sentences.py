"""Exported sentence encoders as the ONNX backend of sentence-transformers."""

import numpy as np
import pytest
import torch
from encoders import save_dense_encoder
from exported import require_native
from transformers import AutoConfig, AutoModel, BertConfig, BertForSequenceClassification

from ultrafastbert.inference.engines.exported import ExportedModel, is_exported
from ultrafastbert.inference.engines.onnx_export import export_onnx
from ultrafastbert.models.converted.folder import save_converted
from ultrafastbert.models.converted.model import converted_copy

pytestmark = pytest.mark.engines
TEXTS = ["the man plays a guitar", "someone", "music is made by many people in the town"]


@pytest.fixture(scope="module")
def library():
    return pytest.importorskip("sentence_transformers")


@pytest.fixture(scope="module")
def encoder(tokenizer, tmp_path_factory):
    """The folder of a converted sentence encoder, and of its export."""
    require_native()
    folder = tmp_path_factory.mktemp("encoder")
    save_dense_encoder(tokenizer, folder / "dense")
    model = AutoModel.from_pretrained(folder / "dense")
    (folder / "model").mkdir()
    save_converted(converted_copy(model, ["1x3x4"] * 2), folder / "dense", folder / "model")
    export_onnx(folder / "model", folder / "out")
    return folder / "model", folder / "out"


def test_folder_keeps_the_modules(encoder):
    model, out = encoder
    kept = ("modules.json", "1_Pooling/config.json", "tokenizer.json")
    for name in kept:
        assert (out / name).read_bytes() == (model / name).read_bytes()
    assert not (out / "README.md").exists()


def test_backend_gives_the_same_vectors(encoder, library, tmp_path):
    model, out = encoder
    expected = library.SentenceTransformer(str(model), device="cpu").encode(TEXTS)
    exported = library.SentenceTransformer(str(out), backend="onnx", device="cpu")
    assert isinstance(exported[0].model, ExportedModel)
    np.testing.assert_allclose(exported.encode(TEXTS), expected, atol=1e-5)
    exported.save_pretrained(str(tmp_path / "copy"))
    copy = library.SentenceTransformer(str(tmp_path / "copy"), backend="onnx", device="cpu")
    np.testing.assert_array_equal(copy.encode(TEXTS), exported.encode(TEXTS))


def test_options_of_the_session_are_taken(encoder, library):
    onnxruntime = pytest.importorskip("onnxruntime")
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    exported = library.SentenceTransformer(
        str(encoder[1]), backend="onnx", device="cpu", model_kwargs={"session_options": options}
    )
    assert exported[0].model.session.get_session_options().intra_op_num_threads == 1


def test_other_models_go_the_librarys_way(encoder, library):
    """Without optimum that ends in its own error; with it, in its export."""
    from sentence_transformers.base.modules import transformer

    assert not is_exported(encoder[0] / "model.onnx")
    assert transformer.load_onnx_model.__wrapped__.__module__.startswith("sentence_transformers")
    with pytest.raises(Exception, match=r"(?i)optimum|onnx"):
        transformer.load_onnx_model(str(encoder[0]), None, "feature-extraction")


def test_module_takes_tokens_without_mask(encoder):
    exported = ExportedModel(encoder[1] / "model.onnx", AutoConfig.from_pretrained(encoder[1]))
    ids = torch.arange(5, 12)[None]
    alone = exported(ids)["last_hidden_state"]
    torch.testing.assert_close(alone, exported(ids, torch.ones_like(ids))["last_hidden_state"])
    assert alone.shape == (1, 7, 16)


@pytest.mark.slow
def test_rerankers_open_as_cross_encoders(tokenizer, library, tmp_path):
    require_native()
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=len(tokenizer),
        hidden_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=32,
        num_labels=1,
    )
    model = converted_copy(BertForSequenceClassification(config), ["1x3x4"] * 2)
    model.save_pretrained(tmp_path / "model")
    tokenizer.save_pretrained(tmp_path / "model")
    export_onnx(tmp_path / "model", tmp_path / "out")
    pairs = [(TEXTS[0], TEXTS[2]), (TEXTS[1], TEXTS[0])]
    expected = library.CrossEncoder(str(tmp_path / "model"), device="cpu").predict(pairs)
    exported = library.CrossEncoder(str(tmp_path / "out"), backend="onnx", device="cpu")
    np.testing.assert_allclose(exported.predict(pairs), expected, atol=1e-5)
