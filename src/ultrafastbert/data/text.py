"""Documents from text files, folders, gzip files and hub data sets, one at a time.

Text format: UTF-8, one paragraph a line, documents separated by a blank line.
"""

import errno
import gzip
import hashlib
import itertools
import json
import os
import reprlib
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO, Any, cast

from ultrafastbert.data.text_collections import checked_texts, is_one_text
from ultrafastbert.runs.digests import add_file
from ultrafastbert.runs.outputs import real

TEXT_SUFFIXES = (".txt", ".text", ".md", ".txt.gz", ".text.gz", ".md.gz")
HUB_PREFIX = "hf:"
# A file without blank lines is cut here, at the end of a paragraph, so that memory stays bounded.
MAX_DOCUMENT_CHARS = 1_000_000
_GZIP_MAGIC = b"\x1f\x8b"

Source = str | Path | Sequence[str | Path]
# A longer name of a missing file is shown cut: it is rather a text than a name.
MAX_SHOWN_CHARS = 255
HOW_TO_NAME = "give a file, a folder or hf:NAME"


def read_documents(source: Source) -> Iterator[str]:
    """Return the documents of a file, a folder (recursive), `hf:NAME[:CONFIG]`, or several of them.

    Files are looked up at once and read while iterating. Paragraphs of a document are joined by
    newlines; a document longer than a million characters comes in several pieces.

    Raises FileNotFoundError for a missing path, ValueError for text that is not UTF-8, a broken
    gzip file or a corpus without documents, and OSError when the hub cannot be reached.
    """
    names = named_sources(source)
    return _non_empty(_documents(_entries(names)), ", ".join(names))


def source_key(source: Source) -> str:
    """Return a digest of a source: what its files hold, in order, and hub names.

    Names and times do not count, so a text that was moved or copied keeps its digest. All files are
    read. Raises FileNotFoundError for a missing path.
    """
    identity = [
        entry if isinstance(entry, str) else _file_digest(entry) for entry in _entries(source)
    ]
    return hashlib.sha256(json.dumps(identity).encode()).hexdigest()


def text_apart_from(source: Source, folder: str | Path) -> list[Path | str]:
    """Return a source with its folders replaced by their files, except files below `folder`.

    Results written to a folder inside the source would be read as text otherwise. Files and folders
    that the source names itself are kept. Raises FileNotFoundError for a missing path.
    """
    return _entries(source, "text", real(folder))


def split_documents(documents: Iterable[str], every: int, validation: bool) -> Iterator[str]:
    """Yield the last of every `every` documents (validation) or all the others (training).

    Fewer than `every` documents are cut into runs of paragraphs; the same share is held out, at
    least one. Raises ValueError for a text of one paragraph, which cannot be split.
    """
    if every < 2:
        raise ValueError(f"every={every} must be at least 2")
    iterator = iter(checked_texts(documents, "documents"))
    first = list(itertools.islice(iterator, every))
    if 0 < len(first) < every:
        first = _short_runs(first, every)
        # Not less than the share of longer texts, and not all.
        every = max(2, len(first) // -(-len(first) // every))
    for index, document in enumerate(itertools.chain(first, iterator)):
        if (index % every == every - 1) == validation:
            yield document


def named_sources(source: Source | Iterable[str | Path], name: str = "source") -> list[str]:
    """Return the files, folders and hub names of a source, which may be a generator of them.

    Raises ValueError, which names the argument, for what can name no text.
    """
    names: Any = [str(source)] if is_one_text(source) else source
    names = [names] if isinstance(names, os.PathLike) else names
    if isinstance(names, bytes | Mapping | set | frozenset) or not isinstance(names, Iterable):
        raise ValueError(
            f"{name} is of type {type(source).__name__}, which names no text: {HOW_TO_NAME}, "
            "or a list of them"
        )
    return [_checked_name(item, name) for item in names]


def _checked_name(item: Any, name: str) -> str:
    path = os.fspath(item) if isinstance(item, str | os.PathLike) else item
    if not isinstance(path, str) or not path.strip():
        raise ValueError(f"{name}={reprlib.repr(item)} names no text: {HOW_TO_NAME}")
    return str(path)


def _short_runs(documents: Sequence[str], least: int) -> list[str]:
    """Cut documents into at least `least` runs of paragraphs, if there are as many paragraphs.

    Raises ValueError for one paragraph.
    """
    paragraphs = [[line for line in document.splitlines() if line] for document in documents]
    n_paragraphs = sum(map(len, paragraphs))
    if n_paragraphs < 2:
        raise ValueError(
            "the text has one paragraph, so none can be held out for validation; write one "
            "paragraph a line, or give more text"
        )
    size = max(1, n_paragraphs // least)
    return ["\n".join(run) for lines in paragraphs for run in _even_parts(lines, size)]


def _even_parts(lines: Sequence[str], size: int) -> Iterator[Sequence[str]]:
    """Cut lines into parts of at most `size`, whose sizes differ by one at most."""
    n_parts = -(-len(lines) // size)
    for part in range(n_parts):
        yield lines[len(lines) * part // n_parts : len(lines) * (part + 1) // n_parts]


def _file_digest(path: Path) -> str:
    digest = hashlib.sha256()
    add_file(digest, path)
    return digest.hexdigest()


def _entries(source: Source, name: str = "source", but: Path | None = None) -> list[Path | str]:
    """Return the files and hub names (strings) of a source, folders replaced by their files.

    Of folders that hold the folder `but`, its files are left out.
    """
    names = named_sources(source, name)
    if not names:
        raise ValueError(f"{name} names no text: {HOW_TO_NAME}")
    entries: list[Path | str] = []
    for entry in names:
        if entry.startswith(HUB_PREFIX):
            entries.append(entry)
        else:
            entries.extend(_files(Path(entry), but))
    return entries


def _files(path: Path, but: Path | None) -> list[Path]:
    if not _exists(path):
        shown = str(path) if len(path.name) <= MAX_SHOWN_CHARS else reprlib.repr(str(path))
        raise FileNotFoundError(f"text source not found: {shown}; {HOW_TO_NAME}")
    if not path.is_dir():
        return [path]
    left_out = but if but is not None and but.is_relative_to(real(path)) else None
    files = sorted(
        file
        for file in path.rglob("*")
        if file.name.lower().endswith(TEXT_SUFFIXES)
        and file.is_file()
        and not any(part.startswith(".") for part in file.relative_to(path).parts)
        and not (left_out and real(file).is_relative_to(left_out))
    )
    if not files and left_out == real(path):
        raise FileNotFoundError(f"{path} is the output's folder, not read as text; name its files")
    if not files:
        raise FileNotFoundError(f"no text files ({', '.join(TEXT_SUFFIXES)}) in the folder {path}")
    return files


def _exists(path: Path) -> bool:
    try:
        return path.exists()
    except OSError as error:
        if error.errno == errno.ENAMETOOLONG:  # a text in the place of its file's name
            return False
        raise


def _documents(entries: list[Path | str]) -> Iterator[str]:
    for entry in entries:
        yield from _hub_documents(entry) if isinstance(entry, str) else _file_documents(entry)


def _non_empty(documents: Iterator[str], source: str) -> Iterator[str]:
    empty = True
    for document in documents:
        empty = False
        yield document
    if empty:
        raise ValueError(f"no documents in {source}: the text is empty")


def _file_documents(path: Path) -> Iterator[str]:
    try:
        with _open(path) as stream:
            yield from paragraphs_to_documents(_decoded_lines(stream, path))
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise ValueError(f"broken gzip file {path}: {error}") from error


def _open(path: Path) -> IO[bytes]:
    with path.open("rb") as stream:
        zipped = path.suffix == ".gz" or stream.read(2) == _GZIP_MAGIC
    if path.stat().st_size and zipped:
        return cast(IO[bytes], gzip.open(path, "rb"))
    return path.open("rb")


def _decoded_lines(stream: IO[bytes], path: Path) -> Iterator[str]:
    for number, line in enumerate(stream, start=1):
        try:
            # The byte order mark that some editors put at the start of a file is not text.
            text = line.decode("utf-8-sig" if number == 1 else "utf-8")
        except UnicodeDecodeError as error:
            message = f"{path} is not UTF-8 text (line {number}: {error.reason}); convert it first"
            raise ValueError(message) from error
        if "\0" in text:
            raise ValueError(f"{path} is a binary file (zero byte in line {number}), not text")
        yield text.strip()


def paragraphs_to_documents(lines: Iterable[str]) -> Iterator[str]:
    """Join stripped lines to documents: an empty line ends one, and so does the length limit."""
    paragraphs: list[str] = []
    n_chars = 0
    for line in lines:
        if line:
            paragraphs.append(line)
            n_chars += len(line)
        if paragraphs and (not line or n_chars >= MAX_DOCUMENT_CHARS):
            yield "\n".join(paragraphs)
            paragraphs, n_chars = [], 0
    if paragraphs:
        yield "\n".join(paragraphs)


def _hub_documents(source: str) -> Iterator[str]:
    """Yield the column "text" of the training split of a hub data set named `hf:NAME[:CONFIG]`."""
    import datasets  # here, because it takes a second to import and files do not need it

    name, _, config = source.removeprefix(HUB_PREFIX).partition(":")
    try:
        rows = datasets.load_dataset(name, config or None, split="train", streaming=True)
        for row in rows:
            if not isinstance(row.get("text"), str):
                columns = ", ".join(row)
                raise ValueError(f'{source} has no column "text" with strings, only: {columns}')
            if row["text"].strip():
                yield row["text"].strip()
    except OSError as error:
        raise OSError(
            f"cannot read the hub data set {source}: {error}; check the name and the connection, "
            "or give a local text file or folder"
        ) from error
