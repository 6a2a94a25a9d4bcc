"""What is wrong with a model is one line that names the file; also after a fork."""

import json
import os
import pickle
import re
import subprocess
import sys

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper
from tiny import model, write_folder, write_json
from ultrafastbert_runtime import Classifier, Encoder, operator, session


def of_our_operator():
    """Return a model of one operator that ONNX Runtime does not have."""
    x = helper.make_tensor_value_info("input_ids", TensorProto.INT64, ["batch", "sequence"])
    y = helper.make_tensor_value_info("last_hidden_state", TensorProto.FLOAT, ["b", "s", 8])
    node = helper.make_node(
        "FastFeedForward", ["input_ids"], ["last_hidden_state"], domain="ultrafastbert"
    )
    sets = [helper.make_opsetid("", 18), helper.make_opsetid("ultrafastbert", 1)]
    graph = helper.make_graph([node], "ours", [x], [y])
    return helper.make_model(graph, opset_imports=sets, ir_version=9)


def with_other_input(name, kind):
    made = model()
    added = made.graph.input.add()
    added.CopyFrom(helper.make_tensor_value_info(name, kind, ["batch", "sequence"]))
    return made


def with_other_type():
    made = model()
    made.graph.node[3].input[0] = "attention_mask"
    made.graph.input[1].type.tensor_type.elem_type = TensorProto.INT32
    return made


BYTES = {
    "empty": (lambda: b"", "is not an ONNX file, or an empty one"),
    "text": (lambda: b"hello, this is text", "is not an ONNX file"),
    "truncated": (lambda: model().SerializeToString()[:-100], "not an ONNX file, or a part of one"),
    "other version": (lambda: model(opset=999).SerializeToString(), "newer than this onnxruntime"),
    "position ids": (
        lambda: with_other_input("position_ids", TensorProto.INT64).SerializeToString(),
        "its inputs are input_ids, attention_mask, token_type_ids, position_ids",
    ),
    "int32": (
        lambda: with_other_type().SerializeToString(),
        r"attention_mask is a tensor\(int32\)",
    ),
    "names": (
        lambda: model().SerializeToString().replace(b"fp32", b"fp\xff2"),
        "names in it are not UTF-8",
    ),
    "logits": (lambda: model("masked").SerializeToString(), "gives logits, and last_hidden_state"),
}


@pytest.mark.parametrize("case", BYTES)
def test_files_of_no_use(tmp_path, capfd, case):
    content, message = BYTES[case]
    write_folder(tmp_path)
    (tmp_path / "model.onnx").write_bytes(content())
    with pytest.raises(ValueError, match=message) as raised:
        Encoder(tmp_path)
    assert str(tmp_path / "model.onnx") in str(raised.value)
    assert "\n" not in str(raised.value)
    assert capfd.readouterr() == ("", "")


def test_every_part_of_a_file_is_refused_or_works(tmp_path):
    """No cut crashes the process."""
    content = model().SerializeToString()
    for n in range(0, len(content), 97):
        (tmp_path / "model.onnx").write_bytes(content[:n])
        with pytest.raises(ValueError, match=r"model\.onnx"):
            session.open_session(tmp_path / "model.onnx")


def external(folder):
    """Save weights in a file of their own, as models of more than 2 GB have them."""
    options = {"location": "model.onnx.data", "size_threshold": 100}
    onnx.save(model(), folder / "model.onnx", save_as_external_data=True, **options)
    return folder / "model.onnx.data"


def test_external_data(tmp_path, encoder):
    folder = write_folder(tmp_path)
    data = external(folder)
    assert np.array_equal(Encoder(folder).encode("a tree"), encoder.encode("a tree"))
    data.write_bytes(data.read_bytes()[:-4])
    with pytest.raises(ValueError, match=r"weights is too short \(model\.onnx\.data\)"):
        Encoder(folder)
    data.unlink()
    with pytest.raises(ValueError, match=r"weights is missing \(model\.onnx\.data\)"):
        Encoder(folder)


def test_weights_outside_the_folder_are_refused(tmp_path):
    folder = write_folder(tmp_path / "model")
    external(folder)
    made = onnx.load(folder / "model.onnx", load_external_data=False)
    for initializer in made.graph.initializer:
        if initializer.external_data:
            initializer.external_data[0].value = "../secret"
    (tmp_path / "secret").write_bytes(bytes(10_000))
    (folder / "model.onnx").write_bytes(made.SerializeToString())
    with pytest.raises(ValueError, match="its weights are outside its folder"):
        Encoder(folder)


@pytest.mark.parametrize(
    "error", [FileNotFoundError("no library"), ImportError("onnxruntime 1.10 is\ntoo old")]
)
def test_an_operator_that_cannot_be_had(tmp_path, monkeypatch, encoder, folder, error):
    def register(options):
        raise error

    monkeypatch.setattr(operator, "register", register)
    assert np.array_equal(Encoder(folder).encode("a"), encoder.encode("a"))  # it needs none
    write_folder(tmp_path)
    onnx.save(of_our_operator(), tmp_path / "model.onnx")
    with pytest.raises(OSError, match=r"needs our operator: (no library|.* is too old)") as raised:
        Encoder(tmp_path)
    assert str(tmp_path / "model.onnx") in str(raised.value)


def test_what_is_missing_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match="none does not exist"):
        Encoder(tmp_path / "none")
    with pytest.raises(FileNotFoundError, match=r"has no model\.onnx: write it by `ultrafastbert"):
        Encoder(tmp_path)
    write_folder(tmp_path)
    (tmp_path / "1_Pooling" / "config.json").unlink()
    with pytest.raises(FileNotFoundError, match=r"has no 1_Pooling/config\.json"):
        Encoder(tmp_path)
    (tmp_path / "tokenizer.json").unlink()
    with pytest.raises(FileNotFoundError, match=r"has no tokenizer\.json"):
        Encoder(tmp_path)


JSON = {
    "broken": ("config.json", "{", r"config\.json is not valid JSON"),
    "list": ("config.json", "[]", r"config\.json must hold an object, not list"),
    "deep": ("config.json", "[" * 100_000, "too deeply nested"),
    "binary": ("config.json", "\udcff", r"config\.json is not valid JSON"),
    "length": ("tokenizer_config.json", '{"model_max_length": "x"}', "model_max_length='x'"),
    "negative": ("sentence_bert_config.json", '{"max_seq_length": -1}', "max_seq_length=-1"),
    "tokenizer": ("tokenizer.json", "{}", r"tokenizer\.json is not a tokenizer"),
    "no JSON": ("tokenizer.json", "x", r"tokenizer\.json is not valid JSON"),
    "modules": ("modules.json", "{", r"modules\.json is not valid JSON"),
}


@pytest.mark.parametrize("case", JSON)
def test_settings_of_no_use(tmp_path, case):
    name, content, message = JSON[case]
    write_folder(tmp_path)
    (tmp_path / name).write_bytes(content.encode("utf-8", "surrogateescape"))
    with pytest.raises(ValueError, match=message) as raised:
        Encoder(tmp_path)
    assert "\n" not in str(raised.value)


OPTIONS = {
    "threads": ({"threads": 0}, "threads=0 must be at least 1"),
    "precision": ({"precision": "fp16"}, "precision='fp16' must be one of fp32, int8"),
    "other precision": ({"precision": "int8"}, "was exported in fp32"),
    "too short": ({"max_length": 2}, "max_length=2 must be from 3 to 40"),
    "too long": ({"max_length": 41}, "max_length=41 must be from 3 to 40"),
}


@pytest.mark.parametrize("case", OPTIONS)
def test_options_of_no_use(folder, case):
    options, message = OPTIONS[case]
    with pytest.raises(ValueError, match=message):
        Encoder(folder, **options)


def test_the_shortest_of_all_lengths_counts(tmp_path):
    write_folder(tmp_path)
    for file, name, length in [
        ("sentence_bert_config.json", "max_seq_length", 39),
        ("tokenizer_config.json", "model_max_length", 38),
        ("config.json", "max_position_embeddings", 37),
    ]:
        settings = json.loads((tmp_path / file).read_text())
        write_json(tmp_path / file, {**settings, name: length})
        assert Encoder(tmp_path).max_seq_length == length
    onnx.save(model(metadata={"max_position_embeddings": "36"}), tmp_path / "model.onnx")
    assert Encoder(tmp_path).max_seq_length == 36


def test_a_tokenizer_of_another_model(tmp_path):
    write_folder(tmp_path)
    text = (tmp_path / "tokenizer.json").read_text()
    text = re.sub(r'"tree":\s*7\b', '"tree":700', text)
    (tmp_path / "tokenizer.json").write_text(text)
    with pytest.raises(ValueError, match="a token is outside its vocabulary"):
        Encoder(tmp_path).encode("tree")


def test_a_tokenizer_that_does_not_know_a_word(tmp_path):
    write_folder(tmp_path)
    path = tmp_path / "tokenizer.json"
    path.write_text(path.read_text().replace('"unk_token": "[UNK]"', '"unk_token": "[none]"'))
    with pytest.raises(ValueError, match=r"tokenizer\.json cannot read a text: "):
        Encoder(tmp_path).encode("unheard")


def test_results_that_are_no_numbers(tmp_path):
    write_folder(tmp_path)
    made = model()
    weights = next(x for x in made.graph.initializer if x.name == "embeddings")
    weights.CopyFrom(
        onnx.numpy_helper.from_array(np.full((16, 8), np.nan, np.float32), "embeddings")
    )
    onnx.save(made, tmp_path / "model.onnx")
    with pytest.raises(ValueError, match="computes something that is not a number"):
        Encoder(tmp_path).encode("tree")


def test_what_is_used_last_in_a_tokenizer_does_not_matter(tmp_path, encoder):
    write_folder(tmp_path)
    tokenizer = Encoder(tmp_path).model.tokenizer.tokenizer
    tokenizer.enable_padding(length=64, pad_id=0)
    tokenizer.enable_truncation(4)
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    text = "the fast tree finds the leaf"
    np.testing.assert_allclose(Encoder(tmp_path).encode(text), encoder.encode(text), atol=1e-6)


FORK = """
import os, sys
from ultrafastbert_runtime import Encoder
encoder = Encoder(sys.argv[1], threads=2)
wanted = encoder.encode(["a tree"] * 64)
for used in (True, False):
    if not (child := os.fork()):
        assert not used or (encoder.encode(["a tree"] * 64) == wanted).all()
        del encoder
        os._exit(7)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="the system cannot fork")
def test_an_encoder_works_after_a_fork(folder):
    command = [sys.executable, "-W", "ignore", "-c", FORK, folder]
    subprocess.run(command, check=True, timeout=60)


def test_an_encoder_travels_to_other_processes(encoder):
    again = pickle.loads(pickle.dumps(encoder))
    assert np.array_equal(again.encode("a tree"), encoder.encode("a tree"))


def test_without_onnxruntime_the_error_says_what_to_install(folder, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(ImportError, match="pip install onnxruntime"):
        Classifier(folder)
