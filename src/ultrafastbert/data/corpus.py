"""From text to what pretraining reads: a tokenizer and packed rows, cached on disk."""

import hashlib
import itertools
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from transformers import PreTrainedTokenizerFast

from ultrafastbert.data.packing import PackedRows, pack
from ultrafastbert.data.text import (
    Source,
    named_sources,
    read_documents,
    source_key,
    split_documents,
)
from ultrafastbert.data.tokenizer import load_tokenizer, train_tokenizer
from ultrafastbert.runs.locks import locked
from ultrafastbert.runs.outputs import make_folder

# One document (or piece of one) in this many is validation text, unless that is given.
VALIDATION_EVERY = 20
# Most characters to train a tokenizer on: more changes its vocabulary little.
TOKENIZER_CHARS = 40_000_000
# Texts of few documents are cut into pieces of about this many characters before they are split.
PIECE_CHARS = 4000

PARTS = ("training text", "validation text")

Documents = Callable[[], Iterator[str]]
OnProgress = Callable[[str, int], None]  # what is being done, tokens so far


@dataclass(frozen=True)
class Corpus:
    """Text ready for masked language modelling."""

    tokenizer: PreTrainedTokenizerFast
    train: PackedRows
    validation: PackedRows


def prepare_corpus(
    text: Source,
    cache_dir: str | Path,
    validation: Source | None = None,
    tokenizer: str | None = None,
    vocab_size: int = 32768,
    seq_length: int = 128,
    on_progress: OnProgress | None = None,
) -> Corpus:
    """Tokenise and pack text, see `text.read_documents` for its form; cached in `cache_dir`.

    Without `validation`, every twentieth document is held out for it; of few documents, the same
    share of paragraphs.
    Without `tokenizer` (a model folder, a vocab.txt or a hub name), one of `vocab_size` tokens is
    trained on the training text.
    Raises FileNotFoundError, ValueError and OSError as the functions it calls.
    """
    text = named_sources(text, "text")
    key = source_key(text)
    if validation is not None:
        validation = named_sources(validation, "validation")
        return prepare_documents(
            lambda: read_documents(text),
            lambda: read_documents(validation),
            (key, source_key(validation)),
            cache_dir,
            tokenizer,
            vocab_size,
            seq_length,
            on_progress,
        )

    def split(for_validation: bool) -> Documents:
        return lambda: split_documents(_units(text), VALIDATION_EVERY, for_validation)

    keys = (f"{key} training", f"{key} validation")
    return prepare_documents(
        split(False), split(True), keys, cache_dir, tokenizer, vocab_size, seq_length, on_progress
    )


def prepare_documents(
    train: Documents,
    validation: Documents,
    keys: tuple[str, str],
    cache_dir: str | Path,
    tokenizer: str | None = None,
    vocab_size: int = 32768,
    seq_length: int = 128,
    on_progress: OnProgress | None = None,
) -> Corpus:
    """Tokenise and pack documents from functions that start a new reading each time.

    `keys` say what the training and validation documents are; the cache is looked up by them.
    """
    if on_progress:
        on_progress("tokenizer", 0)
    made = (
        load_tokenizer(tokenizer)
        if tokenizer
        else _cached_tokenizer(train, keys[0], Path(cache_dir), vocab_size)
    )
    packed = [
        _pack(name, documents, made, seq_length, cache_dir, key, on_progress)
        for name, documents, key in zip(PARTS, (train, validation), keys, strict=True)
    ]
    return Corpus(made, *packed)


def _pack(
    name: str,
    documents: Documents,
    tokenizer: PreTrainedTokenizerFast,
    seq_length: int,
    cache_dir: str | Path,
    key: str,
    on_progress: OnProgress | None,
) -> PackedRows:
    progress = _tokens(on_progress, name)
    try:
        return pack(documents(), tokenizer, seq_length, cache_dir, key, progress)
    except ValueError as error:
        raise ValueError(f"{name}: {error}") from error


def _cached_tokenizer(
    train: Documents, key: str, cache_dir: Path, vocab_size: int
) -> PreTrainedTokenizerFast:
    digest = hashlib.sha256(key.encode()).hexdigest()[:24]
    folder = cache_dir / f"tokenizer-{digest}-{vocab_size}"
    make_folder(cache_dir)
    with locked(folder.with_suffix(".lock")):  # processes that need the same one wait
        if not folder.exists():
            made = train_tokenizer(_first_characters(train(), TOKENIZER_CHARS), vocab_size)
            partial = folder.with_suffix(".partial")
            made.save_pretrained(partial)
            partial.rename(folder)
    return load_tokenizer(folder)


def _tokens(on_progress: OnProgress | None, name: str) -> Callable[[int, int], None] | None:
    if on_progress is None:
        return None
    return lambda n_documents, n_tokens: on_progress(name, n_tokens)


def _first_characters(documents: Iterable[str], n_chars: int) -> Iterator[str]:
    for document in documents:
        if n_chars <= 0:
            return
        n_chars -= len(document)
        yield document


def _units(text: Source) -> Iterator[str]:
    """Yield the documents of a text, or their pieces where there are too few to split."""
    documents = read_documents(text)
    first = list(itertools.islice(documents, 2 * VALIDATION_EVERY))
    if len(first) == 2 * VALIDATION_EVERY:
        return itertools.chain(first, documents)
    return (piece for document in first for piece in _pieces(document))


def _pieces(document: str) -> Iterator[str]:
    lines: list[str] = []
    for line in document.splitlines():
        lines.append(line)
        if sum(map(len, lines)) >= PIECE_CHARS:
            yield "\n".join(lines)
            lines = []
    if lines:
        yield "\n".join(lines)
