"""What importing loads, and what the package shows."""

import subprocess
import sys

import pytest
import ultrafastbert_runtime

SLOW = ("torch", "transformers", "sentence_transformers", "ultrafastbert")


def loaded_by(code, *arguments):
    """Return the modules that code loads in a process of its own."""
    code += "\nimport sys; print(*sys.modules)"
    command = [sys.executable, "-c", code, *map(str, arguments)]
    done = subprocess.run(command, check=True, capture_output=True, text=True, timeout=60)
    return done.stdout.split()


def test_importing_loads_nothing_heavy():
    found = loaded_by("import ultrafastbert_runtime")
    assert not {"numpy", "onnxruntime", "tokenizers", *SLOW}.intersection(found)


def test_encoding_needs_no_torch(folder):
    code = "import sys, ultrafastbert_runtime as r; r.Encoder(sys.argv[1]).encode('a tree')"
    assert not set(SLOW).intersection(loaded_by(code, folder))


@pytest.mark.parametrize("name", ultrafastbert_runtime.__all__)
def test_public_names_are_there_and_documented(name):
    assert getattr(ultrafastbert_runtime, name).__doc__
    assert name in dir(ultrafastbert_runtime)


def test_other_names_are_not():
    with pytest.raises(AttributeError, match="no attribute 'Decoder'"):
        _ = ultrafastbert_runtime.Decoder
