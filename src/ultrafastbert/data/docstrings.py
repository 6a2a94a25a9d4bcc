"""English prose from the documentation strings of installed packages, without network.

Source files are parsed, never imported. What is natural language is kept: no code, no tables.
"""

import ast
import gc
import hashlib
import importlib.util
import inspect
import os
import re
import sysconfig
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

STANDARD_LIBRARY = "python"
# What our own dependencies install; those that are missing are left out.
DEFAULT_LIBRARIES = (
    STANDARD_LIBRARY,
    "torch",
    "transformers",
    "numpy",
    "scipy",
    "sklearn",
    "matplotlib",
    "pandas",
    "sympy",
    "networkx",
    "datasets",
    "accelerate",
    "huggingface_hub",
    "PIL",
    "fontTools",
    "joblib",
    "mpmath",
    "fsspec",
    "jinja2",
    "rich",
    "narwhals",
)
HELD_OUT_EVERY = 8
# Tests are not prose; vendored files and model code say what is said elsewhere.
_SKIPPED_FOLDERS = re.compile(
    "tests?|testing|(site|dist)-packages|__pycache__|idlelib|lib2to3|_vendor|externals"
)
_SKIPPED_FILES = ("test_", "conftest", "modular_", "modeling_")
# Files with less between triple quotes hold a tenth of the words and take a third of the time.
_MIN_QUOTED_SHARE = 0.15
_QUOTES = re.compile(rb"\"{3}|'{3}")
_MIN_WORDS = 8
_MIN_PLAIN_SHARE = 0.75
_MIN_FUNCTION_WORDS = 2
_MAX_HEADER_WORDS = 2
_PLAIN_WORD = re.compile(r"[(\"']*[A-Za-z][a-z]*(?:['-][a-z]+)*[\"')]*[.,;:!?]*[\"')]*")
_FUNCTION_WORD = re.compile(
    r"\b(?:the|an?|of|to|in|is|are|and|or|for|that|this|be|by|with|if|as|on|not|it|from|which)\b"
)
_RULE = re.compile(r"([=\-~^*#+\"'`_.])\1{2,}$")
_BULLET = re.compile(r"(?:[-*+•]|\(?(?:\d{1,2}|[a-z])[.)]|#{1,4}|\[\d+\])\s+(?=\S)")
_FIELD = re.compile(r":\w+(?: [^:]*)?:\s+|\*{0,2}[\w`.]+\s*(?:\([^)]*\))?\s*:\s+(?=\S)")
_DIRECTIVE = re.compile(r"\.\. ?([\w:|-]+?)::\s*|\.\. ")
_PROSE_DIRECTIVES = ("note", "warning", "tip", "important", "caution", "hint", "seealso")
# "axis : int, optional": the head of an entry in numpydoc's parameter lists.
_ENTRY = re.compile(r"[\w*., ]+ : \S")
_MARKUP = (
    (re.compile(r":[\w:+-]+:`~?([^`<]*?)\s*(?:<[^`>]*>)?`"), r"\1"),
    (re.compile(r"`([^`<]+?)\s*<[^`>]*>`_{0,2}"), r"\1"),
    (re.compile(r"\[([^\]]+)\]\([^)]*\)"), r"\1"),
    (re.compile(r"\s*\[[\w#*]+\]_"), ""),
    (re.compile(r"\[?`+([^`]+)`+\]?_{0,2}"), r"\1"),
    (re.compile(r"(?<![\w*])\*{1,2}([^\s*](?:[^*]*[^\s*])?)\*{1,2}(?![\w*])"), r"\1"),
)

Progress = Callable[[str, int], None]


@dataclass(frozen=True)
class LibraryText:
    """Prose of one source file: paragraphs joined by newlines."""

    library: str
    module: str  # path of the file, from the library's folder, with "/"
    text: str


def harvest(
    libraries: Sequence[str] = DEFAULT_LIBRARIES, on_progress: Progress | None = None
) -> Iterator[LibraryText]:
    """Yield the prose of every source file of the installed ones among `libraries`.

    A paragraph that was seen before (in any library) is left out; the order is that of
    `libraries`, then of the file names. `on_progress(library, n_files)` is called after each
    library. Raises ValueError when none of the libraries is installed.
    """
    roots = {library: root for library in libraries if (root := _root(library)) is not None}
    if not roots:
        raise ValueError(f"none of the libraries is installed: {', '.join(libraries)}")
    seen: set[str] = set()
    for library, root in roots.items():
        files = _source_files(root)
        for module, file in files:
            text = "\n".join(_unseen(_file_paragraphs(file), seen))
            if text:
                yield LibraryText(library, module, text)
        if on_progress is not None:
            on_progress(library, len(files))


def library_paragraphs() -> Iterator[str]:
    """Yield the paragraphs of the documentation of Python's library: real text, always at hand."""
    for text in harvest((STANDARD_LIBRARY,)):
        yield from text.text.splitlines()


def is_held_out(text: LibraryText) -> bool:
    """Return whether a file belongs to the eighth that is kept out of training text."""
    digest = hashlib.sha256(f"{text.library}/{text.module}".encode()).digest()
    return digest[0] % HELD_OUT_EVERY == 0


def word_counts(texts: Iterable[LibraryText]) -> dict[str, int]:
    """Return the number of words for each library."""
    counts: dict[str, int] = {}
    for text in texts:
        counts[text.library] = counts.get(text.library, 0) + len(text.text.split())
    return counts


def clean_paragraphs(docstring: str) -> list[str]:
    """Return the natural-language paragraphs of a documentation string, each on one line."""
    lines = inspect.cleandoc(docstring).split("\n")
    paragraphs = (_strip_markup(paragraph) for paragraph in _paragraphs(lines))
    return [paragraph for paragraph in paragraphs if _is_prose(paragraph)]


def _root(library: str) -> Path | None:
    if library == STANDARD_LIBRARY:
        return Path(sysconfig.get_paths()["stdlib"])
    try:
        spec = importlib.util.find_spec(library)
    except ValueError:  # a module without a specification, set up by hand
        return None
    if spec is None or not spec.submodule_search_locations:
        return None
    return Path(next(iter(spec.submodule_search_locations)))


def _source_files(root: Path) -> list[tuple[str, Path]]:
    """Return (path from the root with "/", file) of the files to read, sorted."""
    files: list[tuple[str, Path]] = []
    for folder, folders, names in os.walk(root):
        folders[:] = [name for name in folders if not _SKIPPED_FOLDERS.fullmatch(name)]
        inner = Path(folder).relative_to(root)
        files.extend(
            ((inner / name).as_posix(), Path(folder, name))
            for name in names
            if name.endswith(".py")
            and not name.startswith(_SKIPPED_FILES)
            and os.path.isfile(os.path.join(folder, name))  # not a dangling link
        )
    return sorted(files)


def _unseen(paragraphs: Iterable[str], seen: set[str]) -> Iterator[str]:
    for paragraph in paragraphs:
        if paragraph not in seen:
            seen.add(paragraph)
            yield paragraph


def _file_paragraphs(file: Path) -> list[str]:
    try:
        source = file.read_bytes()
    except OSError:  # no permission: nothing to learn from it
        return []
    if sum(map(len, _QUOTES.split(source)[1::2])) < _MIN_QUOTED_SHARE * len(source):
        return []
    with _no_collection():
        return [text for docstring in _docstrings(source) for text in clean_paragraphs(docstring)]


@contextmanager
def _no_collection() -> Iterator[None]:
    """Pause the garbage collector: it doubles the time of parsing and finds nothing to free."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


def _docstrings(source: bytes) -> Iterator[str]:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # invalid escapes in other people's files
            tree = ast.parse(source)
    except (SyntaxError, ValueError, RecursionError):  # another version's syntax, odd encodings
        return
    yield from _documentation(tree)


def _documentation(node: ast.AST) -> Iterator[str]:
    """Yield docstrings, and the long strings of statements such as `add_docstr(abs, "...")`."""
    for child in getattr(node, "body", ()):
        if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef):
            docstring = ast.get_docstring(child, clean=False)
            if docstring:
                yield docstring
        elif isinstance(child, ast.Expr | ast.Assign):
            yield from _long_strings(child.value)
        else:
            yield from _documentation(child)


def _long_strings(expression: ast.expr) -> Iterator[str]:
    for node in ast.walk(expression):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and " " in node.value:
            yield node.value


def _paragraphs(lines: list[str]) -> Iterator[str]:
    """Yield the paragraphs outside code, tables and headers, with wrapped lines joined."""
    words: list[str] = []
    indent = 0
    hanging = False  # the first line was a list item: its next line may be deeper
    for line in [*_without_code(lines), ""]:
        text = line.strip()
        depth = _depth(line)
        marker = _BULLET.match(text) or _FIELD.match(text)
        continues = words and text and not marker and (depth == indent or hanging)
        if words and not continues:
            yield " ".join(words)
            words = []
        if text:
            hanging = bool(marker) or (hanging and bool(words) and depth <= indent)
            indent = depth
            words.extend(text[marker.end() if marker else 0 :].split())


def _without_code(lines: list[str]) -> Iterator[str]:
    """Yield lines, blank where there was code, a table, a directive's content or a header."""
    block_indent = -1  # everything deeper than this is code
    fenced = doctest = False
    for line, below in pairwise([*lines, ""]):
        text = line.strip()
        depth = _depth(line)
        doctest = bool(text) and (doctest or text.startswith((">>>", "...", "$ ", "In [")))
        if text and block_indent >= 0 and depth <= block_indent:
            block_indent = -1
        if text.startswith(("```", "~~~")):
            fenced = not fenced
            yield ""
        elif not text or fenced or doctest or block_indent >= 0 or _is_head(line, below):
            yield ""
        elif directive := _DIRECTIVE.match(text):
            keep = directive.group(1) in _PROSE_DIRECTIVES
            block_indent = -1 if keep else depth
            yield "    " + line[:depth] + text[directive.end() :] if keep else ""
        else:
            block_indent = depth if text.endswith("::") else -1
            yield line.replace("::", ":") if block_indent >= 0 else line


def _depth(line: str) -> int:
    return len(line) - len(line.lstrip())


def _is_head(line: str, below: str) -> bool:
    """Return whether a line is a rule, a header above one, a table's row or an entry's head."""
    text = line.strip()
    if _RULE.match(text) or _RULE.match(below.strip()) or text.startswith(("|", "+-")):
        return True
    opens = text.endswith(":") and len(text.split()) <= _MAX_HEADER_WORDS  # "Args:"
    return (opens or _ENTRY.match(text) is not None) and _depth(below) > _depth(line)


def _strip_markup(paragraph: str) -> str:
    for pattern, replacement in _MARKUP:
        paragraph = pattern.sub(replacement, paragraph)
    return paragraph.strip()


def _is_prose(paragraph: str) -> bool:
    words = paragraph.split()
    if len(words) < _MIN_WORDS or paragraph[-1] not in ".!?:" or not paragraph.isprintable():
        return False
    if not paragraph[0].isalpha() or any(sign in paragraph for sign in ("\\", "{", ">>>", "http")):
        return False
    n_plain = sum(_PLAIN_WORD.fullmatch(word) is not None for word in words)
    n_function = len(_FUNCTION_WORD.findall(paragraph))
    return n_plain >= _MIN_PLAIN_SHARE * len(words) and n_function >= _MIN_FUNCTION_WORDS
