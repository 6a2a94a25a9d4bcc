"""What commands show while they work: plain lines in files and pipes, a bar on terminals."""

import io
import re
import subprocess
import sys
import threading
import time
from functools import partial

import pytest
from encoders import save_dense_encoder, write_stsb

from ultrafastbert.bench import encoder_latency as latency
from ultrafastbert.bench import timing
from ultrafastbert.cli import lines as lines_module
from ultrafastbert.cli.progress import showing
from ultrafastbert.cli.training_progress import TrainingProgress
from ultrafastbert.distill import conversion
from ultrafastbert.distill.equal_latency import time_equal_width
from ultrafastbert.distill.sweep import models as sweep_models
from ultrafastbert.train.pretrain import get_recipe, pretrain

LINE = re.compile(r"\d+:\d\d:\d\d .+")
TINY = ["--recipe", "tiny", "--tokens", "20000", "--vocab-size", "200", "--seq-length", "32"]


def progress_threads():
    return [thread for thread in threading.enumerate() if thread.name == "progress lines"]


def test_lines_come_by_themselves_and_end_with_the_work(monkeypatch, capsys):
    monkeypatch.setattr(lines_module, "LINE_SECONDS", 0.05)
    monkeypatch.setattr(lines_module, "HELD_SECONDS", 0.02)
    monkeypatch.setattr(lines_module, "TICK_SECONDS", 0.01)
    with showing("rows: here") as show:
        show("working\nhard")
        assert progress_threads()
        time.sleep(0.4)
    assert not progress_threads()
    err = capsys.readouterr().err.splitlines()
    assert err[0] == "0:00:00 starting; rows: here"
    assert err[1] == "0:00:00 working hard"
    assert 2 <= sum("working hard: for " in line for line in err) <= 8
    assert err[-1].endswith(" done")


def test_a_command_that_fails_at_once_prints_its_error_alone(run, tmp_path):
    code, out, err = run("report", "write", tmp_path / "none")
    assert (code, out) == (2, "")
    (line,) = err.splitlines()
    assert line.startswith("error: ")
    assert not progress_threads()


def test_only_the_main_process_shows(monkeypatch, capsys):
    monkeypatch.setenv("RANK", "1")
    with showing("rows: here") as show:
        show("working", 1, 2)
    assert capsys.readouterr().err == ""


class Terminal(io.StringIO):
    """A terminal that only writes down."""

    def isatty(self):
        return True


@pytest.mark.parametrize("term", ["xterm", "dumb"])
def test_terminals_get_a_bar(monkeypatch, term):
    for name in ("NO_COLOR", "FORCE_COLOR", "TTY_COMPATIBLE", "TTY_INTERACTIVE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TERM", term)
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    with showing("rows: [here]") as show:
        show("working [hard]", 1, 2, "loss 1.0")
        show("elsewhere")
    text = terminal.getvalue()
    assert "rows: [here]" in text
    assert "elsewhere" in text
    assert ("\x1b[" in text) == (term == "xterm")
    assert ("0:00:00 starting" in text) == (term == "dumb")


def test_a_pipe_gets_lines_whatever_the_colours(monkeypatch, capsys):
    monkeypatch.setenv("FORCE_COLOR", "1")
    with showing():
        pass
    assert capsys.readouterr().err.splitlines() == ["0:00:00 starting", "0:00:00 done"]


def test_a_run_that_is_watched_says_tokens_step_and_loss(packed, tokenizer, tmp_path):
    """Steps of the batch ramp grow, so tokens are what the time left is reckoned by."""
    said = []

    def show(what, done=0, total=None, note="", unit=""):
        said.append((what, done, total, note, unit))

    config = get_recipe("tiny")("1x2x2", vocab_size=len(tokenizer), budget_tokens=20_000)
    row = pretrain(
        config, *packed, tokenizer, tmp_path, "fff", callbacks=[TrainingProgress(show, "fff")]
    )
    what, done, total, _, unit = said[0]
    assert (what, done, total, unit) == ("pretraining fff", 0, row.tokens, "tokens")
    read = [entry[1] for entry in said[:-1]]
    assert read == sorted(read)
    assert read[-1] == total
    assert f"step {row.steps}/{row.steps}, loss " in said[-2][3]
    assert said[-1][0] == "validating fff"


def stages(err, kept=None):
    """Return what lines say, without times; check their form, their start and their end."""
    found = err.splitlines()
    assert all(LINE.fullmatch(line) for line in found), err
    said = [line.partition(" ")[2] for line in found]
    assert said[0] == (f"starting; {kept}" if kept else "starting")
    assert said[-1] == "done"
    return said


def holds(said, *wanted):
    """Check that stages were said in this order."""
    places = [next(i for i, line in enumerate(said) if line.startswith(start)) for start in wanted]
    assert places == sorted(places), said


@pytest.mark.slow
def test_a_log_of_training_in_files(text_file, tmp_path):
    """As a user runs it: both streams go to files."""
    command = [sys.executable, "-m", "ultrafastbert", "pretrain", "model", "--text", text_file]
    with (tmp_path / "out").open("w") as out, (tmp_path / "err").open("w") as err:
        done = subprocess.run(
            [*map(str, command), *TINY], cwd=tmp_path, stdout=out, stderr=err, check=False
        )
    said = stages((tmp_path / "err").read_text(encoding="utf-8"), "rows: model/rows.jsonl")
    assert done.returncode == 0
    order = "reading text", "preparing tokenizer", "preparing training text: "
    holds(said, *order, "building the model", "pretraining 1x5x16: 0/", "validating 1x5x16")
    assert (tmp_path / "out").read_text(encoding="utf-8").startswith("| model |")


@pytest.mark.slow
def test_converted_models(run, tokenizer, documents, text_file, tmp_path, monkeypatch):
    """Converting, and everything that takes long with what it gives."""
    monkeypatch.setattr(conversion, "time_equal_width", partial(time_equal_width, seconds=0.0))
    monkeypatch.setattr(latency, "SECONDS", 0.01)
    monkeypatch.setattr(timing, "TURN_SECONDS", 1e-3)
    dense, model = save_dense_encoder(tokenizer, tmp_path / "dense"), tmp_path / "model"
    sentences = [line for document in documents for line in document.split(". ")]
    glue_dir = write_stsb(tmp_path / "glue", sentences)
    rows = f"rows: {model / 'rows.jsonl'}"

    def said(*arguments, kept=rows):
        code, _, err = run(*arguments)
        assert code == 0, err
        return stages(err, kept)

    steps = ["--tokens", 2000, "--steps", 5, "--sequential-steps", 3]
    steps += ["--end-to-end-steps", 3, "--end-to-end-tokens", 2000, "--glue-dir", glue_dir]
    found = said("convert", dense, model, "--text", text_file, "--ffn", "1x2x2", *steps)
    order = "loading the original", "reading text", "timing dense layers"
    order += "layer 0: 1x2x2", "scoring fff", "end to end: ", "scoring teacher", "drawing figures"
    holds(found, *order)
    found = said("bench", "converted", model, dense)
    holds(found, "loading models", "timing ")
    found = said(
        "quantize",
        model,
        tmp_path / "small",
        "--weight-dtype",
        "bfloat16",
        kept=f"rows: {tmp_path / 'small' / 'rows.jsonl'}",
    )
    holds(found, "loading the model", "encoding texts", "scoring", "quantizing to bfloat16")
    for folder, last in ((model, "following tokens"), (dense, "layer 0: what regions explain")):
        options = ["--text", text_file, "--tokens", 1500, "--figures", tmp_path / "figures"]
        found = said("diagnose", folder, *options, kept=None)
        holds(found, "loading the model", "reading text", last, "drawing figures")
    found = said("report", "write", model, kept=f"report: {model / 'report.html'}")
    holds(found, "drawing figures and writing the report")
    vectors = tmp_path / "vectors.npy"
    found = said("encode", "--model", model, "a", "b", "--out", vectors, kept=f"vectors: {vectors}")
    holds(found, "loading the model", "encoding texts: 0/2 (0 %)", "counting the texts")


def test_a_sweep(run, tokenizer, text_file, tmp_path, monkeypatch):
    monkeypatch.setattr(latency, "SECONDS", 0.01)
    monkeypatch.setattr(sweep_models, "CANDIDATE_SECONDS", 0.01)
    dense = save_dense_encoder(tokenizer, tmp_path / "dense")
    options = ["--candidates", "1x2x2", "--tokens", 2000, "--steps", 5]
    code, _, err = run("sweep", dense, tmp_path / "out", "--text", text_file, *options)
    assert code == 0, err
    found = stages(err, f"rows: {tmp_path / 'out' / 'rows.jsonl'}")
    order = "loading the original", "reading text", "layer 0: 1x2x2", "running the original"
    holds(found, *order, "timing each candidate", "measuring models", "drawing figures")


def test_fine_tuning(run, tokenizer, documents, tmp_path):
    dense = save_dense_encoder(tokenizer, tmp_path / "dense")
    sentences = [line for document in documents for line in document.split(". ")]
    glue_dir = write_stsb(tmp_path / "glue", sentences)
    options = ["--task", "stsb", "--data-dir", glue_dir, "--epochs", 1, "--batch-size", 4]
    code, _, err = run("glue", dense, *options)
    assert code == 0, err
    found = stages(err, f"rows: {dense / 'glue.jsonl'}")
    holds(found, "reading data", *(f"stsb, seed 0: {stage}" for stage in ("loading", "training")))
    holds(found, "stsb, seed 0: tokenizing", "stsb, seed 0: evaluating: 5/5 steps (100 %)")
