"""The runtime without PyTorch computes what sentence-transformers and transformers do."""

import json
import shutil
import subprocess
import sys

import numpy as np
import pytest
import torch
from transformers import pipeline
from ultrafastbert_runtime import Classifier, Encoder, FillMask

from ultrafastbert import (
    UltraFastBertConfig,
    UltraFastBertForMaskedLM,
    UltraFastBertForSequenceClassification,
)
from ultrafastbert.inference import encode
from ultrafastbert.inference.encode import open_encoder, save_sentence_transformer
from ultrafastbert.inference.engines import export_onnx
from ultrafastbert.inference.fill_mask import fill_mask

pytest.importorskip("onnxscript")
library = pytest.importorskip("sentence_transformers")
pytestmark = [pytest.mark.engines, pytest.mark.slow]

LONG = "the fast leaf " * 40
LABELS = {0: "bad", 1: "fair", 2: "good"}


@pytest.fixture(scope="module")
def texts(documents):
    sentences = [text for document in documents[:20] for text in document.split(". ")]
    return ["", "  A  LEAF ", LONG, *sentences[:60], *documents[:5]]


@pytest.fixture(scope="module")
def config(tokenizer):
    return {
        "vocab_size": len(tokenizer),
        "hidden_size": 32,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "tree_depth": 3,
        "leaf_size": 2,
        "max_position_embeddings": 24,
        "classifier_hidden_size": 16,
        "initializer_range": 0.3,
    }


def saved(model_class, config, tokenizer, path, **options):
    torch.manual_seed(0)
    model_class(UltraFastBertConfig(**config, **options)).eval().save_pretrained(path)
    tokenizer.save_pretrained(path)
    return path


@pytest.fixture(scope="module")
def masked(config, tokenizer, tmp_path_factory):
    return saved(UltraFastBertForMaskedLM, config, tokenizer, tmp_path_factory.mktemp("mlm"))


@pytest.fixture(scope="module")
def exported_mask(masked, tmp_path_factory):
    out = tmp_path_factory.mktemp("exported")
    export_onnx(masked, out)
    return out


@pytest.fixture(scope="module")
def sentence_folder(masked, tmp_path_factory):
    """A folder of sentence-transformers with an ONNX file beside its weights."""
    path = tmp_path_factory.mktemp("encoder") / "model"
    save_sentence_transformer(masked, path, "mean", normalize=True)
    export_onnx(path, path.parent / "onnx")
    shutil.copyfile(path.parent / "onnx" / "model.onnx", path / "model.onnx")
    return path


@pytest.fixture(scope="module")
def both(sentence_folder):
    return Encoder(sentence_folder), library.SentenceTransformer(str(sentence_folder), device="cpu")


def test_vectors_are_those_of_sentence_transformers(both, texts):
    ours, theirs = both
    assert ours.max_seq_length == theirs.max_seq_length == 24
    wanted = theirs.encode(texts)
    np.testing.assert_allclose(ours.encode(texts), wanted, atol=1e-5)
    np.testing.assert_allclose(ours.encode(texts[3]), wanted[3], atol=1e-5)
    np.testing.assert_allclose(ours.encode(np.array(texts)), wanted, atol=1e-5)


@pytest.mark.parametrize("normalize", [False, True])
def test_truncated_as_by_sentence_transformers(both, texts, normalize):
    ours, theirs = both
    wanted = theirs.encode(texts, truncate_dim=8, normalize_embeddings=normalize)
    found = ours.encode(texts, truncate_dim=8, normalize=normalize)
    np.testing.assert_allclose(found, wanted, atol=1e-5)


@pytest.mark.parametrize("precision", ["int8", "uint8", "binary", "ubinary"])
def test_quantized_as_by_sentence_transformers(texts, precision):
    from sentence_transformers.util.quantization import quantize_embeddings
    from ultrafastbert_runtime.vectors import quantize

    vectors = np.random.default_rng(0).standard_normal((200, 20)).astype(np.float32)
    found, wanted = quantize(vectors, precision), quantize_embeddings(vectors, precision)
    assert found.dtype == wanted.dtype
    assert np.array_equal(found, wanted)


def test_masks_are_those_of_the_pipeline(masked, exported_mask):
    theirs, ours = pipeline("fill-mask", str(masked), device="cpu"), FillMask(exported_mask)
    for text in ("the [MASK] of a tree", "[MASK] leaf [MASK]", "A [MASK]"):
        assert flat(ours(text)) == pytest.approx(flat(theirs(text)), abs=1e-5)
    texts = ["a [MASK]", "the [MASK] tree"]
    assert flat(ours(texts, top_k=2)) == pytest.approx(flat(theirs(texts, top_k=2)), abs=1e-5)


def flat(found):
    """Return the scores of nested lists, under what they are of."""
    if isinstance(found, dict):
        return {(found["token"], found["token_str"], found["sequence"]): found["score"]}
    return {(i, *key): score for i, part in enumerate(found) for key, score in flat(part).items()}


@pytest.fixture(scope="module")
def classifiers(config, tokenizer, tmp_path_factory):
    path = tmp_path_factory.mktemp("classifier")
    model_class = UltraFastBertForSequenceClassification
    folder = saved(model_class, config, tokenizer, path / "model", id2label=LABELS)
    export_onnx(folder, path / "exported")
    return folder, path / "exported"


@pytest.mark.parametrize(
    "problem_type", ["single_label_classification", "multi_label_classification", "regression"]
)
def test_labels_are_those_of_the_pipeline(classifiers, problem_type):
    for folder in classifiers:
        settings = json.loads((folder / "config.json").read_text())
        settings["problem_type"] = problem_type
        (folder / "config.json").write_text(json.dumps(settings))
    cut = {"truncation": True, "max_length": 24}
    theirs = pipeline("text-classification", str(classifiers[0]), device="cpu", **cut)
    ours = Classifier(classifiers[1])
    for text in ("a leaf", "", LONG):
        wanted = scores(theirs(text, top_k=None))
        assert scores(ours(text, top_k=None)) == pytest.approx(wanted, abs=1e-5)
    wanted = scores(theirs({"text": "a leaf", "text_pair": LONG}, top_k=None))
    assert scores(ours(("a leaf", LONG), top_k=None)) == pytest.approx(wanted, abs=1e-5)


def scores(found):
    return {entry["label"]: entry["score"] for entry in found}


def test_exported_models_run_in_the_runtime(masked, exported_mask, sentence_folder, monkeypatch):
    assert isinstance(open_encoder(sentence_folder), Encoder)
    monkeypatch.setattr(encode, "bundled_model", lambda: sentence_folder)
    assert isinstance(open_encoder(), Encoder)
    for folder, options in [(masked, {}), (sentence_folder, {"weight_dtype": "int8"})]:
        assert isinstance(open_encoder(folder, **options), library.SentenceTransformer)
    with pytest.raises(ValueError, match="is exported: leave out pooling='cls'"):
        open_encoder(exported_mask, pooling="cls")
    text = "the [MASK] of a tree"
    (found,), (wanted,) = fill_mask(exported_mask, text), fill_mask(masked, text)
    assert [word for word, _ in found] == [word for word, _ in wanted]
    assert [p for _, p in found] == pytest.approx([p for _, p in wanted], abs=1e-5)


def test_both_engines_encode_and_count_alike(both, texts):
    found, wanted = (encode.encode(model, texts) for model in both)
    np.testing.assert_allclose(found.vectors, wanted.vectors, atol=1e-5)
    assert found.n_truncated == wanted.n_truncated > 0
    one = encode.encode(both[0], texts[3])
    np.testing.assert_allclose(one.vectors, wanted.vectors[3], atol=1e-5)
    with pytest.raises(ValueError, match="texts is empty"):
        encode.encode(both[0], [])


SCRIPT = """
import atexit, sys
atexit.register(lambda: print("torch" in sys.modules))
from ultrafastbert.cli import main
main()
"""


def test_commands_need_no_torch(sentence_folder, exported_mask):
    for arguments, said in [
        (["encode", "--model", sentence_folder, "a tree", LONG], "| 1 a tree | 1.000 |"),
        (["fill-mask", exported_mask, "the [MASK] of a tree"], "[MASK] 1"),
    ]:
        command = [sys.executable, "-c", SCRIPT, *map(str, arguments)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
        assert done.returncode == 0, done.stderr
        assert said in done.stdout
        assert done.stdout.endswith("\nFalse\n")
