"""What models encode: texts of one length as tokens, and real texts of mixed lengths."""

import itertools
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from tokenizers import Tokenizer

from ultrafastbert.data import docstrings
from ultrafastbert.data.sampling import END_OF_SENTENCE

# Texts of a call.
TEXT_LOADS = {"sentence": 1, "texts": 64}
LOADS = ("sentence", "1x16", "1x128", "32x32", "32x128", "texts")
N_BATCHES = 4  # that rotate
N_FILES = 64  # of documentation, which texts are cut from
# All models read so many tokens, special ones included.
LONGEST = 128
SHORTEST_SENTENCE = 4  # words
CALIBRATION_TEXTS = 64


@dataclass(frozen=True)
class Load:
    """What one call encodes.

    Attributes:
        name: such as 32x128 or texts.
        file: the name of its batches' file.
        n_texts, n_tokens: of a call, padding not counted, on average.
        is_text: whether texts are given, not tokens.
    """

    name: str
    file: str
    n_texts: int
    n_tokens: float
    is_text: bool


class Texts:
    """Documentation of Python's library, as a tokenizer reads it.

    Sentences and paragraphs take turns, so lengths are mixed. Ids are those of all texts, one
    after the other, without special tokens.
    """

    def __init__(self, tokenizer: Path):
        self.tokenizer = Tokenizer.from_file(str(tokenizer / "tokenizer.json"))
        self.tokenizer.no_padding()
        self.tokenizer.no_truncation()
        documents = docstrings.harvest((docstrings.STANDARD_LIBRARY,))
        paragraphs = [
            line
            for document in itertools.islice(documents, N_FILES)
            for line in document.text.splitlines()
        ]
        self.ids = np.array(list(itertools.chain.from_iterable(self._ids(paragraphs, False))))
        self.mixed = self._not_too_long(_mixed(paragraphs))
        self.sentences = self._not_too_long(_sentences(paragraphs))

    def _ids(self, texts: Sequence[str], special: bool) -> list[list[int]]:
        encoded = self.tokenizer.encode_batch(list(texts), add_special_tokens=special)
        return [each.ids for each in encoded]

    def _not_too_long(self, texts: Iterator[str]) -> list[tuple[str, int]]:
        """Return texts that all models read whole, with their tokens."""
        found = list(texts)
        lengths = map(len, self._ids(found, True))
        return [each for each in zip(found, lengths, strict=True) if each[1] <= LONGEST]

    def samples(self) -> np.ndarray:
        """Return texts to quantize by: ids (n, S)."""
        return _cut(self.ids, (CALIBRATION_TEXTS, LONGEST))

    def write(self, name: str, folder: Path) -> Load:
        """Write a load's batches into a folder; ValueError for an unknown name."""
        if name in TEXT_LOADS:
            return self._write_texts(name, folder)
        batch, length = shape_of(name)
        np.save(folder / f"{name}.npy", _cut(self.ids, (N_BATCHES, batch, length)))
        return Load(name, f"{name}.npy", batch, batch * length, False)

    def _write_texts(self, name: str, folder: Path) -> Load:
        size = TEXT_LOADS[name]
        texts = self.sentences if size == 1 else self.mixed
        # Single texts are many, so that lengths differ.
        n_batches = N_BATCHES if size > 1 else TEXT_LOADS["texts"]
        found = list(itertools.islice(itertools.cycle(texts), n_batches * size))
        batches = [found[start : start + size] for start in range(0, len(found), size)]
        path = folder / f"{name}.json"
        path.write_text(json.dumps([[text for text, _ in batch] for batch in batches]))
        n_tokens = sum(length for _, length in found) / len(batches)
        return Load(name, path.name, size, n_tokens, True)


def shape_of(name: str) -> tuple[int, int]:
    """Return texts and tokens of a load such as 32x128; ValueError for other names."""
    batch, _, length = name.partition("x")
    if not (batch.isdecimal() and length.isdecimal() and int(batch) and 0 < int(length) <= LONGEST):
        raise ValueError(
            f"loads: {name!r} is unknown; write {', '.join(TEXT_LOADS)} or BATCHxTOKENS of at most "
            f"{LONGEST} tokens, such as 32x128"
        )
    return int(batch), int(length)


def check(names: Sequence[str]) -> None:
    """Raise ValueError for names of no load."""
    if not names:
        raise ValueError(f"loads=() must name at least one, such as {LOADS[0]}")
    for name in names:
        if name not in TEXT_LOADS:
            shape_of(name)


def _cut(ids: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    return np.resize(ids, shape)  # repeated where there are too few


def _sentences(paragraphs: Sequence[str]) -> Iterator[str]:
    for paragraph in paragraphs:
        for sentence in END_OF_SENTENCE.split(paragraph.strip()):
            if len(sentence.split()) >= SHORTEST_SENTENCE:
                yield sentence


def _mixed(paragraphs: Sequence[str]) -> Iterator[str]:
    """Yield sentences and paragraphs by turns, of which some have several sentences."""
    for sentence, paragraph in zip(_sentences(paragraphs), paragraphs, strict=False):
        yield sentence
        yield paragraph
