"""Documents as token rows of one length, in a memory-mapped cache file."""

import errno
import hashlib
import os
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import IO

import numpy as np
from tokenizers import Tokenizer
from transformers import PreTrainedTokenizerFast

from ultrafastbert.data.text_collections import checked_texts
from ultrafastbert.runs.locks import locked
from ultrafastbert.runs.outputs import make_folder

# Part of every cache key: raise it when the same input gives other rows.
_FORMAT = 1
# Characters tokenised at once: enough work for all cores, little memory.
_BATCH_CHARS = 1 << 20

Progress = Callable[[int, int], None]


class PackedRows:
    """Rows of token ids (n, seq_length), memory-mapped; pickled by path, so workers share it."""

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        try:
            self.array = np.load(self.path, mmap_mode="r", allow_pickle=False)
        except (ValueError, EOFError) as error:
            raise ValueError(f"broken file of packed rows {path}: {error}") from error
        if self.array.ndim != 2 or self.array.dtype.kind != "u":
            raise ValueError(f"{path} does not hold packed rows")

    def __len__(self) -> int:
        return self.array.shape[0]

    def __getitem__(self, index: int) -> np.ndarray:
        return self.array[index]

    def __reduce__(self) -> tuple[type["PackedRows"], tuple[Path]]:
        return PackedRows, (self.path,)

    @property
    def seq_length(self) -> int:
        """Tokens in a row."""
        return self.array.shape[1]

    @property
    def n_tokens(self) -> int:
        """Tokens in all rows."""
        return self.array.size


def pack(
    documents: Iterable[str],
    tokenizer: PreTrainedTokenizerFast,
    seq_length: int,
    cache_dir: str | Path,
    key: str,
    on_progress: Progress | None = None,
) -> PackedRows:
    """Tokenise documents, put [SEP] after each, cut into rows of `seq_length`; the rest is dropped.

    The rows are kept in `cache_dir` under a digest of `key` (what the documents are, see
    `text.source_key`), the tokenizer and `seq_length`. When they are there already, `documents` is
    not read. Processes that ask for the same rows wait for the first one.
    `on_progress(n_documents, n_tokens)` is called after each batch of documents.

    Raises ValueError for `documents` that are not a collection of texts or fill no row, OSError
    where the rows cannot be written.
    """
    if seq_length < 1:
        raise ValueError(f"seq_length={seq_length} must be at least 1")
    if tokenizer.sep_token_id is None:
        raise ValueError("the tokenizer has no [SEP] token, which ends each document")
    documents, encoder = checked_texts(documents, "documents"), _encoder(tokenizer)
    path = Path(cache_dir) / f"rows-{_digest(key, encoder, seq_length)}.npy"
    make_folder(path.parent)
    with locked(path.with_suffix(".lock")):
        if not _is_complete(path):
            batches = _token_batches(documents, encoder, tokenizer.sep_token_id, on_progress)
            _write(path, batches, seq_length, encoder.get_vocab_size())
    return PackedRows(path)


def _is_complete(path: Path) -> bool:
    try:
        PackedRows(path)
    except (FileNotFoundError, ValueError):  # not built yet, or damaged since
        return False
    return True


def _encoder(tokenizer: PreTrainedTokenizerFast) -> Tokenizer:
    """Return a copy that neither truncates nor pads and takes "[SEP]" in a text for plain text."""
    encoder = Tokenizer.from_str(tokenizer.backend_tokenizer.to_str())
    encoder.no_truncation()
    encoder.no_padding()
    encoder.encode_special_tokens = True
    return encoder


def _digest(key: str, encoder: Tokenizer, seq_length: int) -> str:
    content = "\0".join((str(_FORMAT), key, str(seq_length), encoder.to_str()))
    return hashlib.sha256(content.encode()).hexdigest()[:32]


def _batches(documents: Iterable[str]) -> Iterator[list[str]]:
    batch: list[str] = []
    n_chars = 0
    for document in documents:
        batch.append(document)
        n_chars += len(document)
        if n_chars >= _BATCH_CHARS:
            yield batch
            batch, n_chars = [], 0
    if batch:
        yield batch


def _token_batches(
    documents: Iterable[str], encoder: Tokenizer, sep_token_id: int, on_progress: Progress | None
) -> Iterator[np.ndarray]:
    n_documents = n_tokens = 0
    for batch in _batches(documents):
        encoded = encoder.encode_batch_fast(batch, add_special_tokens=False)
        tokens = np.concatenate([[*item.ids, sep_token_id] for item in encoded if item.ids] or [[]])
        n_documents += len(batch)
        n_tokens += tokens.size
        if on_progress is not None:
            on_progress(n_documents, n_tokens)
        yield tokens


def _write(path: Path, batches: Iterable[np.ndarray], seq_length: int, vocab_size: int) -> None:
    """Write a temporary file and rename it, so that a kill never leaves half a cache."""
    dtype = np.dtype(np.uint16 if vocab_size <= 1 << 16 else np.uint32)
    partial = path.with_suffix(".partial")
    try:
        with partial.open("wb") as stream:
            _write_rows(stream, batches, seq_length, dtype)
            stream.flush()
            os.fsync(stream.fileno())
        partial.replace(path)
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            message = f"{error.strerror}: the packed rows need more room, choose another cache_dir"
            raise OSError(error.errno, message, str(partial)) from error
        raise
    finally:
        partial.unlink(missing_ok=True)


def _write_rows(
    stream: IO[bytes], batches: Iterable[np.ndarray], seq_length: int, dtype: np.dtype
) -> None:
    n_rows = 0
    rest = np.empty(0, dtype)
    header_size = _write_header(stream, n_rows, seq_length, dtype)
    for tokens in batches:
        tokens = np.concatenate([rest, tokens.astype(dtype)])
        n = len(tokens) // seq_length
        stream.write(tokens[: n * seq_length].tobytes())
        n_rows += n
        rest = tokens[n * seq_length :]
    if n_rows == 0:
        raise ValueError(
            f"the corpus has {len(rest)} tokens, less than one row of seq_length {seq_length}: "
            "give more text or a smaller seq_length"
        )
    stream.seek(0)
    if _write_header(stream, n_rows, seq_length, dtype) != header_size:
        raise RuntimeError("the size of a .npy header changed with the number of rows")


def _write_header(stream: IO[bytes], n_rows: int, seq_length: int, dtype: np.dtype) -> int:
    """Write the .npy header; numpy pads it so that the first axis can grow in place."""
    header = {"descr": dtype.str, "fortran_order": False, "shape": (n_rows, seq_length)}
    np.lib.format.write_array_header_1_0(stream, header)
    return stream.tell()
