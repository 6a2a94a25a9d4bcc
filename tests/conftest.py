"""What several test files share: a tiny corpus with its tokenizer and packed rows."""

import os
import random
import sys

if "PYTEST_XDIST_WORKER" in os.environ:  # workers share the cores
    os.environ.setdefault("OMP_NUM_THREADS", "1")

import pytest
from sentences import sentence

from ultrafastbert import cli
from ultrafastbert.cli import lines as lines_module
from ultrafastbert.data import docstrings
from ultrafastbert.data.packing import pack
from ultrafastbert.data.tokenizer import train_tokenizer


def pytest_collection_modifyitems(items):
    """Run last what runs other engines: a process that ran OpenVINO may crash when it forks."""
    items.sort(key=lambda item: item.get_closest_marker("engines") is not None)


@pytest.fixture(scope="session")
def documents():
    generator = random.Random(0)
    return [" ".join(sentence(generator) for _ in range(20)) for _ in range(200)]


@pytest.fixture(scope="session")
def tokenizer(documents):
    return train_tokenizer(documents, vocab_size=200)


@pytest.fixture(scope="session")
def packed(documents, tokenizer, tmp_path_factory):
    """Packed rows of the tiny corpus: (training, validation)."""
    folder = tmp_path_factory.mktemp("packed")
    return (
        pack(documents[:180], tokenizer, 32, folder, "train"),
        pack(documents[180:], tokenizer, 32, folder, "validation"),
    )


@pytest.fixture
def text_file(documents, tmp_path):
    """A file of the tiny corpus, a sentence a line."""
    path = tmp_path / "text.txt"
    path.write_text("\n\n".join(document.replace(". ", ".\n") for document in documents))
    return path


@pytest.fixture
def few_library_texts(documents, monkeypatch):
    """Let a few made-up texts take the place of all documentation of the standard library."""
    texts = [docstrings.LibraryText("python", f"{i}.py", text) for i, text in enumerate(documents)]
    monkeypatch.setattr(docstrings, "harvest", lambda libraries: iter(texts[:20]))


@pytest.fixture
def run(monkeypatch, capsys):
    """Return a function that runs a command: (exit code, stdout, stderr)."""
    # A command that fails prints its error alone, however slow the machine is.
    monkeypatch.setattr(lines_module, "HELD_SECONDS", 60.0)

    def run_command(*arguments):
        monkeypatch.setattr(sys, "argv", ["ultrafastbert", *map(str, arguments)])
        capsys.readouterr()  # what was printed before is not the command's
        with pytest.raises(SystemExit) as ended:
            cli.main()
        captured = capsys.readouterr()
        return ended.value.code or 0, captured.out, captured.err

    return run_command
