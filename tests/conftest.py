"""What several test files share: a tiny corpus with its tokenizer and packed rows."""

import random
import sys

import pytest
from sentences import sentence

from ultrafastbert import cli
from ultrafastbert.data.packing import pack
from ultrafastbert.data.tokenizer import train_tokenizer


def pytest_collection_modifyitems(items):
    """Run last what runs OpenVINO: a process that did may crash when it forks afterwards."""
    items.sort(key=lambda item: item.path.name in ("test_bench_engines.py", "test_export_onnx.py"))


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
def run(monkeypatch, capsys):
    """Return a function that runs a command: (exit code, stdout, stderr)."""

    def run_command(*arguments):
        monkeypatch.setattr(sys, "argv", ["ultrafastbert", *map(str, arguments)])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        captured = capsys.readouterr()
        return ended.value.code or 0, captured.out, captured.err

    return run_command
