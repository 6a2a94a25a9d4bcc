"""Checks of texts that callers pass, in one place and before anything is computed.

A collection is an ordered iterable of texts: a list, tuple, generator, numpy array, or a column of
a table or data set. A str (letters), a mapping (keys), a table (column names) and a set (no order)
are errors.
"""

import os
import reprlib
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import numpy as np

DECODE = "decode it first, such as by .decode('utf-8')"
MISSING = "fill in what is missing, or leave it out"
OPEN = "give the text that it holds, not the file"
# What to do instead, by what stands in the place of a text.
INSTEAD_OF_TEXT = (
    ((bytes, bytearray, memoryview), DECODE),
    ((type(None), float, np.floating), MISSING),
    ((os.PathLike,), OPEN),
    ((list, tuple, np.ndarray), "give every text as an item of its own"),
    ((Mapping,), "give the text of one of its fields"),
)
# The same for collections.
INSTEAD_OF_COLLECTION = (
    ((bytes, bytearray, memoryview), DECODE),
    ((os.PathLike,), OPEN),
    ((Mapping,), "give a list of its values, or of its keys"),
    ((set, frozenset), "it has no order; give it sorted, or as a list"),
)


def is_one_text(texts: Any) -> bool:
    """Return whether something is a single text, not a collection: a str, also of numpy."""
    return isinstance(texts, str) or (
        isinstance(texts, np.ndarray) and texts.ndim == 0 and isinstance(texts.item(), str)
    )


def checked_text(text: Any, name: str) -> str:
    """Return a text as a str.

    Raises ValueError, which names the argument, for anything else, and for a str that no UTF-8
    file could hold (lone surrogates, as Python makes of undecodable bytes).
    """
    if isinstance(text, np.ndarray) and is_one_text(text):
        text = text.item()
    if not isinstance(text, str):
        instead = _instead(text, INSTEAD_OF_TEXT, "give a str")
        raise ValueError(f"{name}={_shown(text)} is of type {_kind(text)}, not a text: {instead}")
    if not text.isascii():
        _check_encodes(text, name)
    return str(text)


def checked_texts(texts: Iterable[Any], name: str) -> Iterator[str]:
    """Return the texts of a collection, one after the other, each as a str.

    The collection is checked at once, its texts as they come, so that they need not fit in memory.
    An empty one gives nothing. Raises ValueError, which names the argument and the place, for a
    single text, for other collections, and as `checked_text`.
    """
    collection = _checked_collection(texts, name)
    return (checked_text(text, f"{name}[{place}]") for place, text in enumerate(collection))


def checked_texts_and_pairs(texts: Iterable[Any], name: str) -> Iterator[str | tuple[str, str]]:
    """Return the texts of a collection that may hold pairs of them, too: tuples of two.

    Raises as `checked_texts`.
    """
    collection = _checked_collection(texts, name)
    return (_text_or_pair(text, f"{name}[{place}]") for place, text in enumerate(collection))


def _text_or_pair(text: Any, name: str) -> str | tuple[str, str]:
    if isinstance(text, tuple) and len(text) == 2:
        return checked_text(text[0], f"{name}[0]"), checked_text(text[1], f"{name}[1]")
    return checked_text(text, name)


def _checked_collection(texts: Any, name: str) -> Iterator[Any]:
    if is_one_text(texts):
        raise ValueError(
            f"{name}={_shown(texts)} is a single text: give a collection of them, such as a list"
        )
    instead = _instead(texts, INSTEAD_OF_COLLECTION, "")
    if not instead and hasattr(texts, "columns"):  # a table, which iterates over their names
        instead = "give one of its columns"
    try:
        iterator = iter(texts)
    except TypeError:
        iterator, instead = iter(()), instead or "give a collection of texts, such as a list"
    if instead:
        raise ValueError(f"{name} is of type {_kind(texts)}, not a collection of texts: {instead}")
    return iterator


def _check_encodes(text: str, name: str) -> None:
    try:
        text.encode("utf-8")
    except UnicodeEncodeError as error:
        raise ValueError(
            f"{name}={_shown(text)} is not text that UTF-8 can hold (character {error.start}): "
            "decode its bytes by the encoding they are in, or with errors='replace'"
        ) from None


def _instead(value: Any, table: tuple[tuple[tuple[type, ...], str], ...], otherwise: str) -> str:
    return next((hint for types, hint in table if isinstance(value, types)), otherwise)


def _kind(value: Any) -> str:
    return type(value).__name__


def _shown(value: Any) -> str:
    """Return the start of what a value looks like, on one line."""
    return " ".join(reprlib.repr(value).split())
