"""Public functions that take texts: every kind of collection, a single text, and what is none."""

import numpy as np
import pandas as pd
import pytest
import torch
from datasets import Dataset
from encoders import save_dense_encoder
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from text_kinds import KINDS, WRONG
from tiny_models import tiny

from ultrafastbert import UltraFastBertForMaskedLM
from ultrafastbert.data.corpus import prepare_corpus
from ultrafastbert.distill import DiagnoseConfig, convert_model, diagnose
from ultrafastbert.evaluate.similarity import sentence_vectors
from ultrafastbert.inference.encode import cosines, encode, sentence_transformer
from ultrafastbert.inference.fill_mask import fill_mask
from ultrafastbert.models.io.saved import load_as_saved, load_padding_tokenizer
from ultrafastbert.quickstart import pretrain as quickstart
from ultrafastbert.train import finetune as glue

pytest.importorskip("sentence_transformers")

TEXTS = ["The small tree skips the leaf.", "A leaf.", "", "A deep node"]


@pytest.fixture(scope="module")
def folder(tokenizer, tmp_path_factory):
    """Folder of a masked language model."""
    path = tmp_path_factory.mktemp("mlm")
    torch.manual_seed(0)
    config = tiny(vocab_size=len(tokenizer), initializer_range=0.3)
    UltraFastBertForMaskedLM(config).save_pretrained(path)
    tokenizer.save_pretrained(path)
    return path


@pytest.fixture(scope="module")
def encoder(folder):
    return sentence_transformer(folder, device="cpu")


@pytest.fixture(scope="module")
def dense_folder(tokenizer, tmp_path_factory):
    return save_dense_encoder(tokenizer, tmp_path_factory.mktemp("dense"))


@pytest.fixture
def text_files(documents, tmp_path):
    paths = [tmp_path / "a.txt", tmp_path / "b.txt"]
    for path, part in zip(paths, (documents[:100], documents[100:]), strict=True):
        path.write_text("\n\n".join(part))
    return [str(path) for path in paths]


@pytest.mark.parametrize("kind", KINDS)
def test_encode_takes_every_kind(encoder, kind):
    found = encode(encoder, KINDS[kind](TEXTS))
    assert np.array_equal(found.vectors, encode(encoder, TEXTS).vectors)
    assert encode(encoder, KINDS[kind](["A leaf."])).vectors.shape == (1, 32)


@settings(
    max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    kind=st.sampled_from(sorted(KINDS)),
    texts=st.lists(st.text(st.characters(exclude_characters="\0"), max_size=12), min_size=1),
)
def test_encode_gives_what_it_gives_for_a_list(encoder, kind, texts):
    texts = [text.encode(errors="ignore").decode() for text in texts]
    vectors = encode(encoder, KINDS[kind](texts)).vectors
    assert np.array_equal(vectors, encode(encoder, texts).vectors)


@pytest.mark.parametrize("text", ["A man", "", np.str_("A man"), np.array("A man")])
def test_a_single_text_has_a_single_vector(encoder, text):
    found = encode(encoder, text)
    assert found.vectors.shape == (32,)
    assert np.array_equal(found.vectors, encoder.encode(str(text)))
    assert np.array_equal(found.vectors, encode(encoder, [str(text)]).vectors[0])
    with pytest.raises(ValueError, match=r"shape \(32,\) must be \(n, H\)"):
        cosines(found.vectors)


def test_an_empty_text_has_a_vector_and_no_texts_have_none(encoder):
    np.testing.assert_allclose(
        encode(encoder, TEXTS).vectors[2], encode(encoder, "").vectors, rtol=1e-4, atol=1e-5
    )
    for nothing in ([], (), iter(()), np.array([], dtype=str), pd.Series([], dtype=object)):
        with pytest.raises(ValueError, match="texts is empty"):
            encode(encoder, nothing)


@pytest.mark.parametrize("case", [name for name in WRONG if name not in ("text", "text of numpy")])
def test_encode_names_what_is_no_text(encoder, case):
    texts, message = WRONG[case]
    with pytest.raises(ValueError, match=message.replace("documents", "texts")):
        encode(encoder, texts)


def test_encode_reports_what_it_does(encoder):
    said = []
    encode(encoder, TEXTS, batch_size=2, on_status=lambda *status: said.append(status))
    assert said == [
        ("encoding texts", 0, 4),
        ("encoding texts", 2, 4),
        ("encoding texts", 4, 4),
        ("counting the texts that were cut", 0, 4),
    ]


def test_sentence_vectors_take_every_kind(folder):
    model, tokenizer = load_as_saved(folder).eval(), load_padding_tokenizer(folder)
    wanted = sentence_vectors(model, tokenizer, TEXTS)
    for kind in KINDS.values():
        assert sentence_vectors(model, tokenizer, kind(TEXTS)).equal(wanted)
    with pytest.raises(ValueError, match="sentences='A man' is a single text"):
        sentence_vectors(model, tokenizer, "A man")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (["a [MASK]"], r"text=\['a \[MASK\]'\] is of type list, not a text"),
        (pd.Series(["a [MASK]"]), "text=.* is of type Series, not a text"),
        (b"a [MASK]", "text=.* is of type bytes, not a text: decode"),
        (None, "text=None is of type NoneType, not a text"),
        ("a \udcff [MASK]", "text=.* is not text that UTF-8 can hold"),
        ("", "has no"),
    ],
)
def test_fill_mask_takes_one_text(folder, text, message):
    with pytest.raises(ValueError, match=message):
        fill_mask(folder, text)
    assert fill_mask(folder, np.str_("a [MASK]")) == fill_mask(folder, "a [MASK]")


@pytest.mark.parametrize(
    "rows",
    [
        [{"sentence": "a", "label": 0}],
        pd.DataFrame({"sentence": ["a"], "label": [0]}),
        {"sentence": ["a"], "label": [0]},
        "a text",
        None,
    ],
)
def test_fine_tuning_names_rows_that_are_no_data_set(folder, rows):
    spec = glue.TaskSpec("own", label_names=("no", "yes"))
    good = Dataset.from_dict({"sentence": ["a"], "label": [0]})
    with pytest.raises(
        ValueError, match=r"own train is of type \w+, not a datasets.Dataset: .*from_list"
    ):
        glue.fine_tune_on(folder, spec, rows, good)
    with pytest.raises(ValueError, match="own validation is of type"):
        glue.fine_tune_on(folder, spec, good, rows)


@pytest.mark.parametrize(
    ("batches", "message"),
    [
        ("A man", r"batches is a single str: .*tokenizer"),
        (["A man", "plays"], r"batches\[0\] holds texts"),
        ([["A man"], ["plays"]], r"batches\[0\] holds texts"),
        ([b"A man", b"plays"], r"batches\[0\] holds texts"),
        ({"input_ids": torch.ones(2, 3, dtype=torch.int64)}, "batches is a single dict"),
    ],
)
def test_convert_model_names_batches_of_texts(dense_folder, batches, message):
    model = load_as_saved(dense_folder).eval()
    with pytest.raises(ValueError, match=message):
        convert_model(model, batches, "1x2x2")


def test_what_a_tokenizer_makes_is_a_single_batch(dense_folder):
    model, tokenizer = load_as_saved(dense_folder).eval(), load_padding_tokenizer(dense_folder)
    with pytest.raises(ValueError, match="batches is a single BatchEncoding"):
        convert_model(model, tokenizer(["A leaf."], return_tensors="pt"), "1x2x2")


def test_sources_are_read_as_often_as_needed(dense_folder, text_files, tmp_path):
    """A generator of files is gone after its first use; each of these reads it several times."""
    wanted = diagnose(dense_folder, text_files, DiagnoseConfig("1x2x2", 200))
    found = diagnose(dense_folder, iter(text_files), DiagnoseConfig("1x2x2", 200))
    assert [row.layer for row in found] == [row.layer for row in wanted]
    options = {"vocab_size": 200, "seq_length": 16}
    corpus = prepare_corpus(
        iter(text_files[:1]), tmp_path / "cache", iter(text_files[1:]), **options
    )
    same = prepare_corpus(text_files[:1], tmp_path / "cache", text_files[1:], **options)
    assert (corpus.train.path, corpus.validation.path) == (same.train.path, same.validation.path)


def test_the_quickstarts_take_a_single_source(tmp_path):
    path = tmp_path / "own.txt"
    for text in (path, str(path), [path], iter([path])):
        assert quickstart.QuickstartConfig(text=text).text == (str(path),)
    assert quickstart.QuickstartConfig().text == ()
    with pytest.raises(ValueError, match="text='' names no text"):
        quickstart.QuickstartConfig(text="")


def test_converting_takes_a_single_source(monkeypatch, tmp_path):
    from ultrafastbert.quickstart import convert as quickstart_convert

    seen = []

    def convert(model, out, source, *_):
        seen.append(source)
        raise InterruptedError

    monkeypatch.setattr(quickstart_convert, "minilm_folder", lambda: tmp_path)
    monkeypatch.setattr(quickstart_convert, "convert", convert)
    with pytest.raises(InterruptedError):
        quickstart_convert.quickstart_convert(tmp_path / "out", text=str(tmp_path / "own.txt"))
    assert seen == [[str(tmp_path / "own.txt")]]
