"""Vectors: those of each text alone, in the order given, from any source and into any place."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from tiny import HIDDEN, LONGEST, VOCAB, states, write_folder, write_json
from ultrafastbert_runtime import Encoder
from ultrafastbert_runtime import texts as text_module


def alone(text, longest=LONGEST, pooling="mean"):
    """The vector of one text, by numpy alone."""
    words = [VOCAB[word] for word in text.split()][: longest - 2]
    ids = np.array([VOCAB["[CLS]"], *words, VOCAB["[SEP]"]])
    found = states(ids, np.zeros_like(ids))
    return found.mean(axis=0) if pooling == "mean" else found[0]


def expected(texts, **options):
    return np.stack([alone(text, **options) for text in texts])


def test_vectors_are_those_of_each_text_alone_in_order(encoder, texts):
    found = encoder.encode(texts)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, expected(texts), atol=1e-6)
    one_by_one = np.stack([encoder.encode(text) for text in texts])
    np.testing.assert_allclose(found, one_by_one, atol=1e-6)


def test_results_do_not_depend_on_batches(encoder, texts):
    wanted = encoder.encode(texts)
    for options in ({"batch_size": 1}, {"batch_size": 7}, {"token_budget": 1}):
        np.testing.assert_allclose(encoder.encode(texts, **options), wanted, atol=1e-6)


def test_one_text_gets_one_vector(encoder):
    assert encoder.encode("a tree").shape == (HIDDEN,)
    assert encoder.encode(np.array("a tree")).shape == (HIDDEN,)
    assert encoder.encode(["a tree"]).shape == (1, HIDDEN)


def test_no_text_gets_no_vector(encoder):
    assert encoder.encode([]).shape == (0, HIDDEN)
    assert encoder.encode(iter(()), truncate_dim=3).shape == (0, 3)
    assert encoder.encode([], precision="int8").dtype == np.int8
    assert encoder.encode([], precision="ubinary").shape == (0, 1)


def test_empty_texts_get_the_vector_of_special_tokens(encoder):
    np.testing.assert_allclose(encoder.encode(["", "  "]), expected(["", ""]), atol=1e-6)


def test_padding_is_almost_never_computed(encoder, texts, monkeypatch):
    computed = real = 0
    run = encoder.model.session.run

    def counting(inputs, output):
        nonlocal computed, real
        computed += inputs["attention_mask"].size
        real += inputs["attention_mask"].sum()
        return run(inputs, output)

    monkeypatch.setattr(encoder.model.session, "run", counting)
    encoder.encode(texts)
    assert computed / real < 1.1


def test_what_is_longer_than_the_model_reads_is_cut_and_counted(encoder, folder):
    long = "tree " * 50
    np.testing.assert_allclose(encoder.encode(long), alone(long), atol=1e-6)
    (window,) = encoder.windows(["a", long, "tree " * (LONGEST - 2), long])
    assert window.n_truncated == 2
    short = Encoder(folder, max_length=5)
    assert short.max_seq_length == 5
    np.testing.assert_allclose(short.encode(long), alone(long, longest=5), atol=1e-6)


@pytest.mark.parametrize("n", [0, 1, 2, 3, 10])
def test_generators_are_read_in_windows(encoder, texts, monkeypatch, n):
    monkeypatch.setattr(text_module, "WINDOW_TEXTS", 2)
    read = 0

    def generate():
        nonlocal read
        for text in texts[:n]:
            read += 1
            yield text

    vectors = []
    for window in encoder.windows(generate()):
        vectors.extend(window.vectors)
        assert read - len(vectors) <= 2
    wanted = encoder.encode(texts[:n])
    np.testing.assert_allclose(np.reshape(vectors, (-1, HIDDEN)), wanted, atol=1e-6)
    np.testing.assert_allclose(encoder.encode(generate()), wanted, atol=1e-6)


def test_windows_end_by_characters_too(monkeypatch):
    monkeypatch.setattr(text_module, "WINDOW_CHARACTERS", 5)
    assert list(text_module.windows(["aaa", "bbb", "c", ""])) == [["aaa", "bbb"], ["c", ""]]


def test_arrays_of_numpy_and_iterators_are_texts(encoder, texts):
    wanted = encoder.encode(texts)
    assert np.array_equal(encoder.encode(np.array(texts)), wanted)
    assert np.array_equal(encoder.encode(tuple(texts)), wanted)
    keys = dict.fromkeys(texts[:9]).keys()
    np.testing.assert_allclose(encoder.encode(keys), wanted[:9], atol=1e-6)


def test_normalized_after_truncation(encoder, texts):
    wanted = expected(texts)[:, :3]
    np.testing.assert_allclose(encoder.encode(texts, truncate_dim=3), wanted, atol=1e-6)
    wanted /= np.linalg.norm(wanted, axis=1, keepdims=True)
    found = encoder.encode(texts, truncate_dim=3, normalize=True)
    np.testing.assert_allclose(found, wanted, atol=1e-6)
    assert encoder.encode("a", truncate_dim=1000).shape == (HIDDEN,)


def test_the_folder_says_how_to_pool_and_to_normalize(tmp_path, texts):
    folder = write_folder(tmp_path, pooling=("cls", "mean"), normalize=True)
    found = Encoder(folder).encode(texts)
    wanted = np.hstack([expected(texts, pooling=mode) for mode in ("cls", "mean")])
    wanted /= np.linalg.norm(wanted, axis=1, keepdims=True)
    np.testing.assert_allclose(found, wanted, atol=1e-6)
    older = {"word_embedding_dimension": HIDDEN, "pooling_mode_cls_token": True}
    write_json(folder / "1_Pooling" / "config.json", older)
    wanted = expected(texts, pooling="cls")
    wanted /= np.linalg.norm(wanted, axis=1, keepdims=True)
    np.testing.assert_allclose(Encoder(folder).encode(texts), wanted, atol=1e-6)


def test_a_plain_folder_pools_as_its_config_says(tmp_path, texts):
    folder = write_folder(tmp_path, sentence_pooling="cls")
    (folder / "modules.json").unlink()
    wanted = expected(texts, pooling="cls")
    np.testing.assert_allclose(Encoder(folder).encode(texts), wanted, atol=1e-6)


def test_prompts(tmp_path, encoder):
    folder = write_folder(tmp_path)
    prompts = {"prompts": {"query": "find the "}, "default_prompt_name": None}
    write_json(folder / "config_sentence_transformers.json", prompts)
    asks = Encoder(folder)
    wanted = encoder.encode("find the tree")
    assert np.array_equal(asks.encode("tree", prompt_name="query"), wanted)
    assert np.array_equal(asks.encode("tree", prompt="find the "), wanted)
    assert np.array_equal(asks.encode("tree"), encoder.encode("tree"))
    with pytest.raises(ValueError, match="prompt_name='other' is not one of the model's: query"):
        asks.encode("tree", prompt_name="other")
    write_json(
        folder / "config_sentence_transformers.json", {**prompts, "default_prompt_name": "query"}
    )
    assert np.array_equal(Encoder(folder).encode("tree"), wanted)


def test_threads_share_an_encoder(folder, texts):
    encoder = Encoder(folder, threads=2)
    wanted = encoder.encode(texts)
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda _: encoder.encode(texts), range(24)))
    for vectors in found:
        assert np.array_equal(vectors, wanted)


def test_where_the_model_is_found(folder, tmp_path, monkeypatch):
    wanted = Encoder(folder).encode("a tree")
    copied = write_folder(tmp_path / "model")
    (copied / "onnx").mkdir()
    (copied / "model.onnx").rename(copied / "onnx" / "model.onnx")
    assert np.array_equal(Encoder(copied).encode("a tree"), wanted)
    assert np.array_equal(Encoder(copied / "onnx" / "model.onnx").encode("a tree"), wanted)
    package = tmp_path / "ultrafastbert_minilm"
    copied.rename(tmp_path / "moved")
    package.mkdir()
    (package / "__init__.py").write_text("")
    (tmp_path / "moved").rename(package / "model")
    monkeypatch.syspath_prepend(tmp_path)
    assert np.array_equal(Encoder().encode("a tree"), wanted)


def test_progress_is_told(encoder, texts):
    told = []
    encoder.encode(texts, show=lambda *state: told.append(state))
    assert told[0] == ("encoding texts", 0, len(texts))
    assert told[-1] == ("encoding texts", len(texts), len(texts))
    encoder.encode(iter(texts), show=lambda *state: told.append(state))
    assert told[-1] == ("encoding texts", len(texts), None)


WRONG = {
    "item": (["a", None], {}, TypeError, r"texts\[1\] is of type NoneType"),
    "bytes": (b"a", {}, TypeError, "type bytes"),
    "bytes in a list": ([b"a"], {}, TypeError, r"texts\[0\] is of type bytes"),
    "number": (3, {}, TypeError, "type int"),
    "set": ({"a"}, {}, TypeError, "type set"),
    "mapping": ({"a": 1}, {}, TypeError, "type dict"),
    "pair": ([("a", "b")], {}, TypeError, r"texts\[0\] is of type tuple"),
    "surrogate": (["a", "\ud800"], {}, ValueError, r"texts\[1\] is not text that UTF-8 can hold"),
    "batch": ("a", {"batch_size": 0}, ValueError, "batch_size=0"),
    "tokens": ("a", {"token_budget": 0}, ValueError, "token_budget=0"),
    "dimensions": ("a", {"truncate_dim": 0}, ValueError, "truncate_dim=0"),
    "precision": ("a", {"precision": "int3"}, ValueError, "precision='int3' must be one of"),
    "ranges": ("a", {"precision": "int8"}, ValueError, "ranges of several vectors"),
    "pieces": ("a", {"precision": "int8", "out": "x.npy"}, ValueError, "does not go with out"),
    "prompt": ("a", {"prompt_name": "query"}, ValueError, "is not one of the model's: none"),
    "prompt type": ("a", {"prompt": 3}, TypeError, "prompt is of type int"),
}


@pytest.mark.parametrize("case", WRONG)
def test_wrong_calls_are_one_clear_line(encoder, case):
    texts, options, error, message = WRONG[case]
    with pytest.raises(error, match=message) as raised:
        encoder.encode(texts, **options)
    assert "\n" not in str(raised.value)
