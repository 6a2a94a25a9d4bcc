"""Texts in every kind of collection: the same as in a list, or one clear error."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from text_kinds import KINDS, WRONG

from ultrafastbert.data.packing import pack
from ultrafastbert.data.sampling import pieces, sections
from ultrafastbert.data.text import named_sources, read_documents, split_documents
from ultrafastbert.data.text_batches import batches_of
from ultrafastbert.data.text_collections import (
    checked_text,
    checked_texts,
    checked_texts_and_pairs,
    is_one_text,
)
from ultrafastbert.data.tokenizer import train_tokenizer

# NumPy's own strings end where zero bytes begin, and so does none of ours.
text = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=20)


@given(st.sampled_from(sorted(KINDS)), st.lists(text, min_size=1, max_size=5))
def test_every_kind_gives_the_texts_of_a_list(kind, texts):
    found = list(checked_texts(KINDS[kind](texts), "texts"))
    assert found == texts
    assert {type(text) for text in found} == {str}


def test_keys_are_texts_in_an_order():
    assert list(checked_texts({"b": 1, "a": 2}.keys(), "texts")) == ["b", "a"]


def test_an_empty_collection_gives_nothing():
    for kind in KINDS.values():
        assert list(checked_texts(kind([]), "texts")) == []


def test_a_single_text():
    assert checked_text("A man", "text") == "A man"
    assert checked_text("", "text") == ""
    assert type(checked_text(np.str_("é"), "text")) is str
    assert checked_text(np.array("A man"), "text") == "A man"
    assert is_one_text(np.array("A man"))
    assert not is_one_text(np.array(["A man"]))
    assert not is_one_text(np.array(1.0))


# Functions of documents, and what they call them.
READERS = {
    "checked_texts": lambda texts, tokenizer, folder: checked_texts(texts, "documents"),
    "train_tokenizer": lambda texts, tokenizer, folder: train_tokenizer(texts, 64),
    "pack": lambda texts, tokenizer, folder: pack(texts, tokenizer, 1, folder, "key"),
    "split_documents": lambda texts, *_: split_documents(texts, 2, validation=True),
    "sections": lambda texts, *_: sections(texts),
}


@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize("case", WRONG)
def test_what_is_no_text_is_one_clear_error(case, reader, tokenizer, tmp_path):
    texts, message = WRONG[case]
    with pytest.raises(ValueError, match=message) as error:
        list(READERS[reader](texts, tokenizer, tmp_path))
    assert "\n" not in str(error.value)


def test_readers_take_every_kind(tokenizer, documents, tmp_path):
    texts = documents[:20]
    rows = pack(texts, tokenizer, 8, tmp_path, "list").array
    vocabulary = train_tokenizer(texts, 100).get_vocab()
    for name, kind in KINDS.items():
        assert np.array_equal(pack(kind(texts), tokenizer, 8, tmp_path, name).array, rows)
        assert train_tokenizer(kind(texts), 100).get_vocab() == vocabulary, name
        assert list(sections(kind(["a\nb", "c"]))) == ["a\nb", "c"]
        assert list(pieces(kind(["One.", "Two."]))) == ["One.", "Two."]


def test_pairs_where_they_are_allowed(tokenizer):
    pairs = ["a", ("b", np.str_("c"))]
    assert list(checked_texts_and_pairs(iter(pairs), "texts")) == ["a", ("b", "c")]
    (batch,) = batches_of(tokenizer, iter(pairs), 8)
    assert len(batch["input_ids"]) == 2
    with pytest.raises(ValueError, match=r"texts\[0\]\[1\]=None is of type NoneType, not a text"):
        next(batches_of(tokenizer, [("a", None)], 8))
    with pytest.raises(ValueError, match=r"texts\[0\].* of type tuple, not a text"):
        next(batches_of(tokenizer, [("a", "b", "c")], 8))
    with pytest.raises(ValueError, match="single text"):
        next(batches_of(tokenizer, "letters", 8))


@pytest.mark.parametrize("kind", KINDS)
def test_sources_come_in_every_kind(kind, tmp_path):
    for name in "ab":
        (tmp_path / name).write_text(name)
    names = [str(tmp_path / "a"), str(tmp_path / "b")]
    assert named_sources(KINDS[kind](names)) == names
    assert list(read_documents(KINDS[kind](names))) == ["a", "b"]
    assert list(read_documents(tmp_path / "a")) == ["a"]


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("", "source='' names no text: give a file"),
        (["a.txt", " "], "source=' ' names no text"),
        ([None], "source=None names no text"),
        ([["a.txt"]], "names no text"),
        (None, "source is of type NoneType, which names no text"),
        (b"a.txt", "source is of type bytes"),
        ({"a.txt": 1}, "source is of type dict"),
        ({"a.txt"}, "source is of type set"),
        (3.0, "source is of type float"),
    ],
)
def test_what_names_no_text_is_one_clear_error(source, message):
    with pytest.raises(ValueError, match=message):
        read_documents(source)


def test_a_text_in_the_place_of_its_file_is_not_found():
    with pytest.raises(FileNotFoundError, match=r"not found: A man plays\.; give a file"):
        read_documents("A man plays.")
    with pytest.raises(FileNotFoundError, match=r"not found: .A man.*; give a file") as error:
        read_documents("A man plays. " * 1000)
    assert len(str(error.value)) < 200
