"""Texts in every kind of collection: the same as in a list, or one clear error."""

import random
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from datasets import Dataset
from hypothesis import given
from hypothesis import strategies as st

from ultrafastbert.convert.text.batches import batches_of
from ultrafastbert.convert.text.sampling import pieces, sections
from ultrafastbert.data.packing import pack
from ultrafastbert.data.text import named_sources, read_documents, split_documents
from ultrafastbert.data.text_collections import (
    checked_text,
    checked_texts,
    checked_texts_and_pairs,
    is_one_text,
)
from ultrafastbert.data.tokenizer import train_tokenizer


def shuffled_index(texts):
    index = list(range(10, 10 + len(texts)))
    random.Random(0).shuffle(index)
    return pd.Series(texts, index=index, dtype=object)


def object_array(texts):
    array = np.empty(len(texts), dtype=object)
    array[:] = texts
    return array


# Everything that gives texts in an order of its own.
KINDS = {
    "list": list,
    "tuple": tuple,
    "generator": lambda texts: (text for text in texts),
    "iterator": iter,
    "array": lambda texts: np.array(texts, dtype=str),
    "array of objects": object_array,
    "series": lambda texts: pd.Series(texts, dtype=str),
    "series with another index": shuffled_index,
    "index": lambda texts: pd.Index(texts, dtype=object),
    "column": lambda texts: Dataset.from_dict({"text": texts})["text"],
    "dict values": lambda texts: dict(enumerate(texts)).values(),
    "numpy strings": lambda texts: [np.str_(text) for text in texts],
    "reversed": lambda texts: reversed(texts[::-1]),
}
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


NO_COLLECTIONS = {
    "text": ("A man", r"documents='A man' is a single text: give a collection"),
    "text of numpy": (np.array("A man"), "single text"),
    "bytes": (b"A man", r"documents is of type bytes, .* decode"),
    "path": (Path("a.txt"), "is of type PosixPath, .* not the file"),
    "dict": ({"a": 1}, "is of type dict, .* a list of its values"),
    "set": ({"a", "b"}, "is of type set, .* no order"),
    "frozenset": (frozenset("ab"), "is of type frozenset, .* no order"),
    "table": (pd.DataFrame({"a": ["b"]}), "is of type DataFrame, .* one of its columns"),
    "nothing": (None, "is of type NoneType, .* such as a list"),
    "number": (3, "is of type int, .* such as a list"),
    "array of nothing": (np.array(1.0), "is of type ndarray, .* such as a list"),
}
NO_TEXTS = {
    "missing": (["a", None], r"documents\[1\]=None is of type NoneType, not a text: .* missing"),
    "nan": (
        pd.Series(["a", float("nan")], dtype=object),
        r"\[1\]=nan is of type float, not a text",
    ),
    "nan of numpy": (["a", np.float32("nan")], r"\[1\].* missing"),
    "number": (["a", 3], r"\[1\]=3 is of type int, not a text: give a str"),
    "bytes": (["a", b"b"], r"\[1\]=b'b' is of type bytes, not a text: decode"),
    "nested": ([["a", "b"]], r"\[0\]=\['a', 'b'\] is of type list, not a text: .* item of its own"),
    "pairs": ([("a", "b")], r"\[0\].* is of type tuple, not a text"),
    "two axes": (np.array([["a", "b"]]), r"\[0\].* is of type ndarray, not a text"),
    "path": ([Path("a.txt")], r"\[0\].* is of type PosixPath, not a text: .* not the file"),
    "rows": (Dataset.from_dict({"text": ["a"]}), r"\[0\].* of type dict, not a text: .* fields"),
    "undecoded": (["a", "caf\udce9"], r"\[1\]='caf\\udce9' is not text .*\(character 3\)"),
}
WRONG = NO_COLLECTIONS | {f"of {name}": case for name, case in NO_TEXTS.items()}
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
