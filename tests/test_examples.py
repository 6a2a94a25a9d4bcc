"""The examples run, from a folder of their own and without network."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parents[1] / "examples"
# What an example needs beside the base install.
ENCODER = ("sentence_transformers", "ultrafastbert_minilm")
NEEDS = {
    "convert_in_memory.py": ("datasets", "accelerate", "sklearn"),
    "encode_in_processes.py": ENCODER,
    "encode_sentences.py": ENCODER,
    "encode_without_torch.py": ("ultrafastbert_runtime", "ultrafastbert_minilm"),
    "layer_in_torch.py": (),
    "load_published.py": (),
    "optimize_in_torch.py": ENCODER,
    "pretrain_tiny.py": ("datasets", "accelerate"),
    "quantize_and_export.py": ("onnx", "onnxscript", "onnxruntime"),
}


def test_every_example_says_what_it_needs():
    assert {path.name for path in EXAMPLES.glob("*.py")} == set(NEEDS)


@pytest.mark.slow
@pytest.mark.parametrize("name", NEEDS)
def test_an_example_runs(name, tmp_path):
    for module in NEEDS[name]:
        pytest.importorskip(module, reason=f"{name} needs {module}")
    done = subprocess.run(
        [sys.executable, EXAMPLES / name],
        cwd=tmp_path,
        env={**os.environ, "HF_HUB_OFFLINE": "1"},
        capture_output=True,
        text=True,
        timeout=900,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout
    assert not list(tmp_path.iterdir()), "examples leave nothing behind"
