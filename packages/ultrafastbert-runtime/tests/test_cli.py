"""The command, as a user meets it."""

import os
import re
import signal
import subprocess
import sys
import time
from functools import partial

import numpy as np
import pytest
from tiny import write_folder
from ultrafastbert_runtime import cli, model, progress
from ultrafastbert_runtime.progress import Progress, showing

COMMAND = [sys.executable, "-c", "from ultrafastbert_runtime.cli import main; main()"]


@pytest.fixture
def run(capfd):
    def run_command(*arguments):
        try:
            code = cli.run([str(argument) for argument in arguments])
        except SystemExit as ended:  # of argparse
            code = ended.code
        return code, *capfd.readouterr()

    return run_command


def test_cosines_of_a_few_texts(run, folder):
    code, out, err = run("encode", "--model", folder, "a tree", "the leaf", "a tree")
    assert (code, err) == (0, "")
    lines = out.splitlines()
    assert lines[0] == "| cosine | 1 | 2 | 3 |"
    assert lines[1] == "| --- | ---: | ---: | ---: |"
    assert re.fullmatch(r"\| 1 a tree \| 1\.000 \| -?\d\.\d{3} \| 1\.000 \|", lines[2])


def test_vectors_of_a_file_and_of_standard_input(run, folder, encoder, tmp_path):
    texts = ["a tree", "", "the\u2028leaf", "tree " * 100]
    (tmp_path / "texts.txt").write_text("\n".join(texts) + "\n", encoding="utf-8")
    out = tmp_path / "vectors.npy"
    code, said, err = run(
        "encode", "--model", folder, "--file", tmp_path / "texts.txt", "--out", out
    )
    assert (code, said) == (0, f"{out}: 4 vectors of 8\n")
    assert err == "note: texts cut to 40 tokens: 1\n"
    np.testing.assert_allclose(np.load(out), encoder.encode(texts), atol=1e-6)
    command = [*COMMAND, "encode", "--model", folder, "-", "--out", out, "--normalize"]
    text = "\n".join(texts).encode()
    subprocess.run(command, input=text, check=True, capture_output=True, timeout=60)
    assert np.load(out).shape == (4, 8)
    np.testing.assert_allclose(np.linalg.norm(np.load(out), axis=1), 1, atol=1e-6)


def test_labels(run, tmp_path):
    names = {"id2label": {0: "bad", 1: "fair", 2: "good"}}
    folder = write_folder(tmp_path, "classifier", **names)
    code, out, err = run("classify", folder, "a tree", "the\tleaf", "--top", 2)
    assert (code, err) == (0, "")
    lines = [line.split("\t") for line in out.splitlines()]
    assert [(line[0], line[3]) for line in lines] == [
        ("1", "a tree"),
        ("1", "a tree"),
        ("2", "the leaf"),
        ("2", "the leaf"),
    ]
    assert float(lines[0][2]) >= float(lines[1][2])


def test_masks(run, tmp_path):
    folder = write_folder(tmp_path, "masked")
    code, out, err = run("fill-mask", folder, "[MASK] tree [MASK]", "--top", 3)
    assert (code, err) == (0, "")
    assert out.count("%") == 6
    assert out.startswith("[MASK] 1\n")
    code, out, _ = run("fill-mask", folder, "the [MASK]")
    assert out.count("%") == 5


WRONG = {
    "no model": (["encode", "--model", "{new}", "a", "b"], "{new} does not exist"),
    "no model in it": (["encode", "--model", "{empty}", "a", "b"], "has no model.onnx"),
    "model as a text": (["encode", "{model}", "a"], "write --model"),
    "one text": (["encode", "--model", "{model}", "a"], "not of 1: give --out"),
    "many texts": (["encode", "--model", "{model}", *"a" * 21], "not of more than 20"),
    "no text": (["encode", "--model", "{model}"], "give either texts or --file"),
    "two sources": (["encode", "--model", "{model}", "a", "--file", "{lines}"], "either"),
    "empty file": (
        ["encode", "--model", "{model}", "--file", "{lines}", "--out", "{out}"],
        "{lines} is empty",
    ),
    "missing file": (
        ["encode", "--model", "{model}", "--file", "{new}", "--out", "{out}"],
        "{new}",
    ),
    "other suffix": (["encode", "--model", "{model}", "a", "--out", "{new}"], ".npy"),
    "no tokens": (
        ["encode", "--model", "{model}", "a", "b", "--batch-tokens", "0"],
        "token_budget=0",
    ),
    "no threads": (["encode", "--model", "{model}", "a", "b", "--threads", "0"], "threads=0"),
    "other task": (["classify", "{model}", "a"], "gives last_hidden_state, and logits is needed"),
}


@pytest.mark.parametrize("case", WRONG)
def test_wrong_input_is_one_clear_line(run, folder, tmp_path, case):
    names = {"new": tmp_path / "new", "lines": tmp_path / "lines", "out": tmp_path / "out.npy"}
    names |= {"model": folder, "empty": tmp_path}
    names["lines"].write_text("\n")
    arguments, message = WRONG[case]
    code, out, err = run(*(argument.format(**names) for argument in arguments))
    assert (code, out) == (2, "")
    assert message.format(**names) in err
    assert err.startswith("error: ")
    assert err.count("\n") == 1
    assert not names["out"].exists()


def test_input_that_is_no_text(folder, tmp_path):
    command = [*COMMAND, "encode", "--model", folder, "-", "--out", tmp_path / "x.npy"]
    done = subprocess.run(command, input=b"a\n\xff\n", capture_output=True, timeout=60, check=False)
    assert done.returncode == 2
    assert done.stderr == b"error: standard input is not UTF-8 text\n"
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("command", ["encode", "classify", "fill-mask"])
def test_help_teaches(run, command):
    code, out, err = run(command, "--help")
    assert (code, err) == (0, "")
    assert "example" in out
    assert f"ultrafastbert-runtime {command}" in out
    assert max(map(len, out.splitlines())) < 100


def test_what_is_written_out_is_true(run):
    assert cli.TOKEN_BUDGET == model.TOKEN_BUDGET
    code, _, err = run("encode", "--unknown")
    assert code == 2
    assert "--unknown" in err


def test_who_reads_may_stop(folder):
    """A pipe that nobody reads ends the command without a word."""
    reading, writing = os.pipe()
    os.close(reading)
    command = [*COMMAND, "encode", "--model", folder, "a", "b"]
    done = subprocess.run(command, stdout=writing, stderr=subprocess.PIPE, timeout=60, check=False)
    os.close(writing)
    assert (done.returncode, done.stderr) == (141, b"")


def test_ctrl_c_is_one_line(folder, tmp_path):
    command = [*COMMAND, "encode", "--model", folder, "-", "--out", tmp_path / "x.npy"]
    options = {"stdin": subprocess.PIPE, "stderr": subprocess.PIPE, "stdout": subprocess.PIPE}
    # Tests that run in the background of a shell would pass on that they ignore the signal.
    options["preexec_fn"] = partial(signal.signal, signal.SIGINT, signal.default_int_handler)
    with subprocess.Popen(command, **options) as process:
        while not list(tmp_path.iterdir()):  # it has loaded the model, and waits for texts
            time.sleep(0.05)
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=60)
    assert (process.returncode, out, err) == (130, b"", b"interrupted\n")
    assert not list(tmp_path.iterdir())


def test_progress_says_how_far_and_how_long():
    now = 0.0
    state = Progress(lambda: now)
    now = 20.0
    assert state.line() == "0:00:20 loading the model"
    state("encoding texts", 3000, 9000)
    assert state.line() == "0:00:20 encoding texts: 3,000/9,000, 150/s, 0:00:40 left"
    state("encoding texts", 3000)
    assert state.line() == "0:00:20 encoding texts: 3,000, 150/s"


def test_long_jobs_print_lines(monkeypatch, capfd):
    monkeypatch.setattr(progress, "LINE_SECONDS", 0.05)
    with showing() as show:
        show("encoding texts", 1, 2)
        time.sleep(0.2)
    out, err = capfd.readouterr()
    assert out == ""
    assert err.count("encoding texts: 1/2") >= 2
    assert progress.LINE_SECONDS <= 15
