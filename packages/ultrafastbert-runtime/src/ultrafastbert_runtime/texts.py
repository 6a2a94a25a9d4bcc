"""Checks of texts that callers pass, and windows of them that fit in memory."""

import os
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

Text = str | tuple[str, str]

# A window is tokenised, sorted and computed at once: enough texts of each length to fill batches
# without padding, and few enough to hold.
WINDOW_TEXTS = 8192
WINDOW_CHARACTERS = 16_000_000
# Iterable, but not collections of texts in an order.
NO_COLLECTIONS = (bytes, bytearray, memoryview, Mapping, set, frozenset, os.PathLike)


def is_one_text(texts: Any) -> bool:
    """Return whether something is a single text, not a collection."""
    return isinstance(texts, str) or (
        isinstance(texts, np.ndarray) and texts.ndim == 0 and isinstance(texts.item(), str)
    )


def checked_text(text: Any, name: str) -> str:
    """Return a text as a str.

    Raises TypeError, which names its place and type, for anything else; ValueError for a str that
    UTF-8 cannot hold.
    """
    if not is_one_text(text):
        raise TypeError(f"{name} is of type {type(text).__name__}, not a text: give a str")
    text = str(text)
    if not text.isascii():
        try:
            text.encode("utf-8")
        except UnicodeEncodeError as error:
            raise ValueError(
                f"{name} is not text that UTF-8 can hold (character {error.start})"
            ) from None
    return text


def checked_texts(texts: Iterable[Any], pairs: bool = False) -> Iterator[Text]:
    """Return the texts of a collection, one after the other; it is checked at once.

    With `pairs`, its items may be tuples of two texts. Raises as `checked_text`.
    """
    if isinstance(texts, NO_COLLECTIONS) or not isinstance(texts, Iterable):
        raise TypeError(f"texts is of type {type(texts).__name__}: give a text or a list of them")
    return (_text_or_pair(text, f"texts[{i}]", pairs) for i, text in enumerate(texts))


def windows(texts: Iterable[Text]) -> Iterator[list[Text]]:
    """Split texts into lists that fit in memory, without reading further than the next one."""
    window: list[Text] = []
    n_characters = 0
    for text in texts:
        window.append(text)
        n_characters += len(text) if isinstance(text, str) else sum(map(len, text))
        if len(window) == WINDOW_TEXTS or n_characters >= WINDOW_CHARACTERS:
            yield window
            window, n_characters = [], 0
    if window:
        yield window


class TextFile:
    """The lines of a file, each a text, read anew for each loop; their number is known before."""

    def __init__(self, path: str | Path):
        """Count them: OSError for a missing file, ValueError for one that is empty or not UTF-8."""
        self.path, self.n, is_blank = Path(path), 0, True
        for line in self:
            self.n += 1
            is_blank = is_blank and not line.strip()
        if is_blank:
            raise ValueError(f"{path} is empty: write one text a line")

    def __len__(self) -> int:
        return self.n

    def __iter__(self) -> Iterator[str]:
        # Only line feeds: a text may hold characters that Python takes for line ends, too.
        with self.path.open(encoding="utf-8", newline="\n") as file:
            yield from lines(file, str(self.path))


def lines(file: Iterable[str], name: str) -> Iterator[str]:
    """Yield the lines of an open file without their ends; ValueError where it is not UTF-8."""
    try:
        for line in file:
            yield line.removesuffix("\n")
    except UnicodeDecodeError as error:
        raise ValueError(f"{name} is not UTF-8 text") from error


def _text_or_pair(text: Any, name: str, pairs: bool) -> Text:
    if pairs and isinstance(text, tuple) and len(text) == 2:
        return checked_text(text[0], f"{name}[0]"), checked_text(text[1], f"{name}[1]")
    return checked_text(text, name)
