"""Small texts: something is held out of all that have two paragraphs, and errors say what lacks."""

import dataclasses
import random
import re

import pytest
from encoders import save_dense_encoder
from hypothesis import given
from hypothesis import strategies as st
from sentences import sentence
from short_runs import CONVERT, SMALL, SWEEP, interrupt_at
from transformers import AutoTokenizer

from ultrafastbert.data.corpus import prepare_corpus
from ultrafastbert.data.sampling import SECTION_PARAGRAPHS, sections, texts_of
from ultrafastbert.data.text import read_documents, split_documents
from ultrafastbert.data.text_batches import batches_of
from ultrafastbert.distill import DiagnoseConfig, convert, diagnose, sweep

ONE_PARAGRAPH = "the text has one paragraph, so none can be held out"


def prose(path, n_paragraphs, n_sentences=20, blank_lines=False):
    """Write paragraphs of several sentences; return the file."""
    generator = random.Random(0)
    paragraphs = (
        " ".join(f"In {i}x{j} {sentence(generator)}" for j in range(n_sentences))
        for i in range(n_paragraphs)
    )
    path.write_text(("\n\n" if blank_lines else "\n").join(paragraphs))
    return path


@pytest.fixture
def dense(tokenizer, tmp_path):
    return save_dense_encoder(tokenizer, tmp_path / "dense")


lengths = st.lists(st.integers(1, 60), min_size=1, max_size=30)


@given(lengths, st.integers(2, 25))
def test_the_split_is_a_partition_that_holds_out_its_share(lengths, every):
    documents = ["\n".join(f"{i}.{j}" for j in range(length)) for i, length in enumerate(lengths)]
    if sum(lengths) == 1:
        with pytest.raises(ValueError, match=ONE_PARAGRAPH):
            list(split_documents(documents, every, True))
        return
    parts = [
        [
            line
            for part in split_documents(documents, every, validation)
            for line in part.split("\n")
        ]
        for validation in (False, True)
    ]
    lines = [line for document in documents for line in document.split("\n")]
    assert sorted(parts[0] + parts[1]) == sorted(lines)
    assert all(parts)
    if len(documents) >= every:  # as ever
        held_out = [documents[i] for i in range(every - 1, len(documents), every)]
        assert list(split_documents(documents, every, True)) == held_out


@pytest.mark.parametrize("n_paragraphs", [2, 3, 19, 20, 21, 39, 40, 399, 1000, 1999])
def test_a_twentieth_of_a_short_text_is_held_out(n_paragraphs):
    text = "\n".join(f"line {i}" for i in range(n_paragraphs))
    held_out = [
        line for part in split_documents(sections([text]), 20, True) for line in part.splitlines()
    ]
    share = len(held_out) / n_paragraphs
    assert 1 / 40 < share <= max(0.1, 1 / min(n_paragraphs, 20))


@pytest.mark.parametrize("n_paragraphs", [2000, 2001, 4000])
def test_longer_texts_keep_their_split(tmp_path, n_paragraphs):
    path = prose(tmp_path / "text.txt", n_paragraphs, 1)
    lines = path.read_text().splitlines()
    last = range(19 * SECTION_PARAGRAPHS, n_paragraphs, 20 * SECTION_PARAGRAPHS)
    expected = [line for start in last for line in lines[start : start + SECTION_PARAGRAPHS]]
    parts = split_documents(sections(read_documents(path)), 20, True)
    assert [line for part in parts for line in part.splitlines()] == expected


@pytest.mark.parametrize("blank_lines", [False, True])
@pytest.mark.parametrize("n_paragraphs", [2, 15, 400])
def test_a_small_text_is_converted(dense, tmp_path, n_paragraphs, blank_lines):
    path = prose(tmp_path / "text.txt", n_paragraphs, max(20, 8000 // n_paragraphs), blank_lines)
    config = dataclasses.replace(CONVERT, tokens=2000, end_to_end_tokens=2000)
    assert convert(dense, tmp_path / "out", path, config)
    assert not set(texts_of(path, True)) & set(texts_of(path, False))


def test_a_small_text_is_swept_and_diagnosed(dense, tmp_path):
    path = prose(tmp_path / "text.txt", 300)
    with pytest.raises(KeyboardInterrupt):
        sweep(dense, tmp_path / "out", path, SWEEP, on_status=interrupt_at("layer 1"))
    assert diagnose(dense, path, DiagnoseConfig("1x2x3", tokens=1000))


@pytest.mark.parametrize("n_paragraphs", [3, 15, 60])
def test_a_small_text_is_pretrained_on(tmp_path, n_paragraphs):
    path = prose(tmp_path / "text.txt", n_paragraphs, 600 // n_paragraphs)
    corpus = prepare_corpus(path, tmp_path / "cache", vocab_size=200, seq_length=16)
    assert 0 < corpus.validation.n_tokens < corpus.train.n_tokens


def test_a_single_paragraph_is_named(run, dense, tmp_path):
    path = prose(tmp_path / "text.txt", 1, 500)
    for begin in (
        lambda: convert(dense, tmp_path / "out", path, CONVERT),
        lambda: sweep(dense, tmp_path / "out", path, SWEEP),
        lambda: diagnose(dense, path, DiagnoseConfig("1x2x3", tokens=1000)),
        lambda: prepare_corpus(path, tmp_path / "cache"),
    ):
        with pytest.raises(ValueError, match=ONE_PARAGRAPH):
            begin()
    code, _, err = run("pretrain", tmp_path / "m", "--text", path, *SMALL)
    assert (code, ONE_PARAGRAPH in err) == (2, True)


@pytest.mark.parametrize(("share", "least", "most"), [(1.05, 85, 95), (2.0, 40, 50)])
def test_a_text_that_is_too_short_says_by_how_much(dense, tmp_path, share, least, most):
    path = prose(tmp_path / "text.txt", 40, 20)
    tokenizer = AutoTokenizer.from_pretrained(dense)
    texts = [*texts_of(path, True), *texts_of(path, False)]
    n_tokens = sum(batch["attention_mask"].sum() for batch in batches_of(tokenizer, texts, 128))
    config = dataclasses.replace(CONVERT, tokens=int(share * n_tokens))
    message = r"the train text has [\d,]+ tokens in \d+ pieces, but [\d,]+ are wanted; give more"
    with pytest.raises(ValueError, match=message) as raised:
        convert(dense, tmp_path / "out", path, config)
    percent = int(re.search(r"at most (\d+) % of the tokens", str(raised.value))[1])
    assert least < percent < most
    enough = dataclasses.replace(config, tokens=int(config.tokens * percent / 100))
    assert convert(dense, tmp_path / "out", path, enough)
