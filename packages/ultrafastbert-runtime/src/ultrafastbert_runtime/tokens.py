"""Texts to tokens, by the tokenizer.json of a model."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from ultrafastbert_runtime.folder import ModelFolder, count_of, read_json
from ultrafastbert_runtime.texts import Text

if TYPE_CHECKING:
    from tokenizers import Tokenizer

TOKENIZER_FILE = "tokenizer.json"
# Texts at once: enough for all cores, and few of the library's large objects.
TOKENISED_TEXTS = 256
# Where a model says how many tokens it reads; it reads what all of them allow.
LENGTHS = (
    ("tokenizer_config.json", "model_max_length"),
    ("sentence_bert_config.json", "max_seq_length"),
    ("config.json", "max_position_embeddings"),
)
NO_LIMIT = 2**31 - 1


class Tokens(NamedTuple):
    """A text for a model.

    Attributes:
        ids, types: (S) int64: tokens, and which text of a pair they are of.
        is_truncated: whether the text was longer.
    """

    ids: np.ndarray
    types: np.ndarray
    is_truncated: bool


class TextTokenizer:
    """Makes tokens of texts, and batches of tokens. Threads may share it.

    Attributes:
        max_length: the most tokens of a text, special tokens included.
    """

    def __init__(self, folder: ModelFolder, longest: int, max_length: int | None = None):
        """Load it.

        Args:
            folder: the model's.
            longest: what the model itself can read.
            max_length: the most tokens to read of a text, by default all that the model reads.

        Raises OSError and ValueError for files of no use and a `max_length` that does not fit.
        """
        self.path = folder.require(TOKENIZER_FILE)
        self.tokenizer = _load(self.path)
        longest = min(longest, longest_of(folder))
        self.max_length = longest if max_length is None else max_length
        least = self.tokenizer.num_special_tokens_to_add(False) + 1
        if not least <= self.max_length <= longest:
            raise ValueError(f"max_length={self.max_length} must be from {least} to {longest}")
        self.pad_id = _pad_id(folder, self.tokenizer)
        # Ours pads batches when it knows them, and files carry what they were last used with.
        self.tokenizer.no_padding()
        self.tokenizer.enable_truncation(self.max_length)

    def tokens(self, texts: Sequence[Text]) -> Iterator[Tokens]:
        """Yield the tokens of texts, or pairs of them, in the order given."""
        for start in range(0, len(texts), TOKENISED_TEXTS):
            chunk = list(texts[start : start + TOKENISED_TEXTS])
            with _one_line(f"{self.path} cannot read a text"):
                encoded = self.tokenizer.encode_batch_fast(chunk)
            for found in encoded:
                ids = np.array(found.ids, np.int64)
                yield Tokens(ids, np.array(found.type_ids, np.int64), bool(found.overflowing))

    def batch(self, texts: Sequence[Tokens]) -> dict[str, np.ndarray]:
        """Return the inputs of a model, (B, S) int64 each, padded to the longest text."""
        shape = len(texts), max((len(text.ids) for text in texts), default=0)
        ids, types = np.full(shape, self.pad_id, np.int64), np.zeros(shape, np.int64)
        mask = np.zeros(shape, np.int64)
        for row, text in enumerate(texts):
            n = len(text.ids)
            ids[row, :n], types[row, :n], mask[row, :n] = text.ids, text.types, 1
        return {"input_ids": ids, "attention_mask": mask, "token_type_ids": types}


def longest_of(folder: ModelFolder) -> int:
    """Return how many tokens a model reads by the files of its folder."""
    found = (count_of(folder.settings(file), name, file) for file, name in LENGTHS)
    return min((length for length in found if length), default=NO_LIMIT)


def _load(path: Path) -> "Tokenizer":
    """Load a tokenizer; ValueError, which names the file, if it is broken."""
    from tokenizers import Tokenizer

    read_json(path)
    with _one_line(f"{path} is not a tokenizer"):
        return Tokenizer.from_file(str(path))


@contextmanager
def _one_line(what: str) -> Iterator[None]:
    """Turn errors of the library, which has no types of its own, into ValueError of one line."""
    try:
        yield
    except Exception as error:
        if type(error) is not Exception:
            raise
        raise ValueError(f"{what}: {' '.join(str(error).split())}") from None


def _pad_id(folder: ModelFolder, tokenizer: "Tokenizer") -> int:
    """Return the token that fills the ends of short texts; models may count positions by it."""
    if tokenizer.padding is not None:
        return tokenizer.padding["pad_id"]
    token = folder.settings("tokenizer_config.json").get("pad_token")
    if isinstance(token, dict):  # as older files write it, with how it is split off
        token = token.get("content")
    found = tokenizer.token_to_id(token) if isinstance(token, str) else None
    return folder.settings("config.json").get("pad_token_id") or 0 if found is None else found
