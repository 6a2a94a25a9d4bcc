"""A run's folder: one process at a time, and free as long as nothing was learned."""

import dataclasses
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
from dataclasses import replace
from functools import partial
from multiprocessing import get_context

import filelock
import pytest
from encoders import save_dense_encoder, write_stsb
from report_rows import curve_rows, machine_rows
from short_runs import CONVERT, SMALL, SWEEP, cut_off, interrupt_at, time_by_name

from ultrafastbert import rows
from ultrafastbert.bench import encoder_latency as latency
from ultrafastbert.bench import timing
from ultrafastbert.distill import conversion, convert, recipe, sweep
from ultrafastbert.distill.equal_latency import time_equal_width
from ultrafastbert.distill.sweep import models as sweep_models
from ultrafastbert.distill.sweep import recipe as sweep_recipe
from ultrafastbert.quickstart import convert as quickstart_convert
from ultrafastbert.quickstart import pretrain as quickstart
from ultrafastbert.rows.training import PretrainRow
from ultrafastbert.runs import locks, run_folder
from ultrafastbert.train import finetune as glue
from ultrafastbert.train.finetune.job import FineTuneJob
from ultrafastbert.train.pretrain import calibration, get_recipe, pretrain, training

POINT = curve_rows()[0]


@pytest.fixture(autouse=True)
def short_timing(monkeypatch):
    monkeypatch.setattr(timing, "TURN_SECONDS", 1e-3)
    short = partial(time_equal_width, seconds=0.0)
    monkeypatch.setattr(conversion, "time_equal_width", short)
    monkeypatch.setattr(latency, "time_models", time_by_name)
    monkeypatch.setattr(sweep_models, "time_models", time_by_name)


@pytest.fixture
def short_text(documents, tmp_path):
    path = tmp_path / "short.txt"
    path.write_text("\n".join(documents[0].split(". ")))
    return path


@pytest.fixture
def dense(tokenizer, tmp_path):
    return save_dense_encoder(tokenizer, tmp_path / "dense")


@pytest.fixture
def stsb(documents, tmp_path):
    sentences = [line for document in documents for line in document.split(". ")]
    return write_stsb(tmp_path / "glue", sentences)


HOLD = """
import sys, time
from pathlib import Path
from ultrafastbert.runs import run_folder
with run_folder.locked(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(600)
"""


@pytest.fixture
def held(tmp_path):
    """The folder of a run that is going on in another process, and the process."""
    out = tmp_path / "out"
    command = [sys.executable, "-c", HOLD, out]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "held\n"
    yield out, process
    process.kill()
    process.communicate()


@pytest.mark.slow
def test_a_second_run_is_refused_while_the_first_one_goes_on(
    run, held, dense, text_file, packed, tokenizer
):
    out, process = held
    tiny = get_recipe("tiny")(vocab_size=len(tokenizer), budget_tokens=2000)
    for resume in (False, True):
        for begin in (
            lambda **options: pretrain(tiny, *packed, tokenizer, out, "fff", **options),
            lambda **options: convert(dense, out, text_file, CONVERT, **options),
            lambda **options: sweep(dense, out, text_file, SWEEP, **options),
            lambda **options: quickstart.quickstart(out, **options),
        ):
            with pytest.raises(BlockingIOError, match=r"out is in use by another process; wait"):
                begin(resume=resume)
    code, _, err = run("pretrain", out, "--text", text_file, *SMALL)
    assert code == 2
    assert err.splitlines()[-1].startswith(f"error: {out} is in use by another process")
    assert [path.name for path in out.iterdir()] == [run_folder.LOCK]
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    pretrain(tiny, *packed, tokenizer, out, "fff")
    assert not (out / run_folder.LOCK).exists()


def test_the_quickstart_of_conversions_holds_its_folder(held, dense, monkeypatch):
    monkeypatch.setattr(quickstart_convert, "minilm_folder", lambda: dense)
    with pytest.raises(BlockingIOError, match="in use"):
        quickstart_convert.quickstart_convert(held[0])


def test_exports_to_the_same_folder_exclude_each_other(held):
    with (
        pytest.raises(BlockingIOError, match="in use"),
        run_folder.new_folder(held[0]),
    ):
        pytest.fail("the work has begun")


def test_what_a_run_calls_may_hold_its_folder_and_no_other_thread(tmp_path):
    refused = []

    def another():
        try:
            with run_folder.locked(tmp_path / "out"):
                pass
        except BlockingIOError as error:
            refused.append(str(error))

    with run_folder.locked(tmp_path / "out"):
        with run_folder.locked(tmp_path / "dense" / ".." / "out"):
            pass
        thread = threading.Thread(target=another)
        thread.start()
        thread.join()
        assert len(refused) == 1
    assert list(tmp_path.iterdir()) == []


def test_helpers_of_the_main_process_do_not_lock(held, monkeypatch):
    monkeypatch.setenv("RANK", "1")
    with run_folder.locked(held[0]):
        pass


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (NotImplementedError("no flock"), "the file system has no locks; choose a folder on"),
        (OSError(30, "Read-only file system"), "Read-only file system; choose another folder"),
    ],
)
def test_file_systems_that_cannot_lock_are_named(tmp_path, monkeypatch, error, message):
    def fail(*args, **options):
        raise error

    monkeypatch.setattr(filelock.FileLock, "acquire", fail)
    with pytest.raises(OSError, match=f"{message}.*out"), run_folder.locked(tmp_path / "out"):
        pytest.fail("the work has begun")
    assert not (tmp_path / "out").exists()


def append(path, name):
    for number in range(40):
        rows.append_rows(path, [replace(POINT, name=name, step=number)] * 3)


@pytest.mark.slow
def test_rows_of_several_writers_are_neither_lost_nor_torn(tmp_path):
    path, context = tmp_path / "rows.jsonl", get_context("spawn")
    writers = [context.Process(target=append, args=(path, name)) for name in "ab"]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    found = [(row.name, row.step) for row in rows.read_rows(path)]
    assert sorted(found) == sorted([(name, n) for name in "ab" for n in range(40)] * 3)
    assert [place.name for place in tmp_path.iterdir()] == ["rows.jsonl"]


def test_rows_wait_for_those_of_another_writer(tmp_path):
    path = tmp_path / "rows.jsonl"
    writer = threading.Thread(target=rows.append_row, args=(path, POINT))
    with locks.locked(tmp_path / ".rows.jsonl.lock"):
        writer.start()
        path.write_text('{"kind": "half')
        writer.join(0.3)
        assert path.read_text() == '{"kind": "half'
        path.write_text(json.dumps(rows.to_plain(machine_rows()[0])) + "\n")
    writer.join()
    assert [row.kind for row in rows.read_rows(path)] == ["machine", "pretrain_curve"]


def test_glue_refuses_what_another_process_is_doing(dense, stsb, tmp_path):
    path, config = tmp_path / "rows.jsonl", glue.GlueConfig(epochs=1, bf16=False)
    splits = glue.load_task(glue.get_task("stsb"), stsb)
    job = FineTuneJob(dense, glue.get_task("stsb"), splits, 0, config, None)
    refused = []

    def second(seeds):
        other = dataclasses.replace(config, seeds=seeds)
        try:
            glue.run_glue(dense, ["stsb"], other, stsb, path)
        except BlockingIOError as error:
            refused.append(str(error))

    with job.claimed(path):
        for seeds in ((0,), (1,)):  # the other seed is another row
            thread = threading.Thread(target=second, args=(seeds,))
            thread.start()
            thread.join()
    assert len(refused) == 1
    assert "another process fine-tunes the same model on stsb (seed 0)" in refused[0]
    assert [row.seed for row in rows.read_rows(path)] == [1]


def test_all_kinds_of_runs_are_known():
    settings = (module.SETTINGS for module in (training, recipe, sweep_recipe, quickstart))
    assert set(settings) == set(run_folder.RUNS)


@pytest.mark.slow
def test_a_conversion_whose_text_was_too_short_leaves_the_folder_free(
    dense, text_file, short_text, tmp_path
):
    out = tmp_path / "out"
    for begin in (
        lambda text: convert(dense, out, text, CONVERT),
        lambda text: sweep(dense, out, text, SWEEP),
    ):
        with pytest.raises(ValueError, match=r"the (train|validation) text has .* are wanted"):
            begin(short_text)
        assert not (out / "rows.jsonl").exists()
        assert begin(text_file)
        shutil.rmtree(out)


@pytest.mark.slow
def test_a_pretraining_whose_text_was_too_short_leaves_the_folder_free(
    run, text_file, short_text, tmp_path
):
    code, _, err = run("pretrain", tmp_path / "m", "--text", short_text, *SMALL)
    assert code == 2, err
    assert run("pretrain", tmp_path / "m", "--text", text_file, *SMALL)[0] == 0


@pytest.mark.slow
def test_a_quickstart_whose_text_was_too_short_leaves_the_folder_free(
    run, text_file, short_text, tmp_path, monkeypatch
):
    options = ["--tokens", "5000", "--ffn", "1x2x2"]
    code, _, err = run("quickstart", tmp_path / "q", "--text", short_text, *options)
    assert (code, "give more text" in err) == (2, True)
    monkeypatch.setattr(quickstart, "_fine_tune", cut_off)
    assert run("quickstart", tmp_path / "q", "--text", text_file, *options)[0] == 130
    code, _, err = run("quickstart", tmp_path / "q", "--text", text_file, *options)
    assert (code, "--resume" in err) == (2, True)


@pytest.mark.parametrize("beginning", ["reading text", "timing", "layer 0"])
def test_a_conversion_that_was_interrupted_early_leaves_the_folder_free(
    dense, text_file, tmp_path, beginning
):
    config = dataclasses.replace(CONVERT, controls=True)
    out, other = tmp_path / "out", dataclasses.replace(config, ffn="1x1x2")
    with pytest.raises(KeyboardInterrupt):
        convert(dense, out, text_file, config, on_status=interrupt_at(beginning))
    for resume in (False, True):  # other settings take the place of those
        again = dataclasses.replace(other, seeds=(int(resume),))
        with pytest.raises(KeyboardInterrupt):
            convert(dense, out, text_file, again, None, resume, interrupt_at("layer 0"))
    kinds = [row.kind for row in rows.read_rows(out / "rows.jsonl")]
    assert kinds == ["convert_time"]
    assert json.loads((out / "convert.json").read_text())["seeds"] == [1]


def test_a_conversion_that_learned_something_is_kept(dense, text_file, tmp_path):
    out = tmp_path / "out"
    with pytest.raises(KeyboardInterrupt):
        convert(dense, out, text_file, CONVERT, on_status=interrupt_at("layer 1"))
    with pytest.raises(FileExistsError, match="--resume"):
        convert(dense, out, text_file, CONVERT)
    other = dataclasses.replace(CONVERT, ffn="1x1x2")
    with pytest.raises(ValueError, match="differs in ffn"):
        convert(dense, out, text_file, other, resume=True)
    with pytest.raises(FileExistsError, match="of something else"):
        sweep(dense, out, text_file, SWEEP)


@pytest.mark.slow
def test_a_pretraining_without_a_checkpoint_leaves_the_folder_free(
    run, text_file, tmp_path, monkeypatch
):
    out, step = tmp_path / "m", training.PretrainTrainer.training_step
    monkeypatch.setattr(training.PretrainTrainer, "training_step", cut_off)
    assert run("pretrain", out, "--text", text_file, *SMALL)[0] == 130
    (out / "checkpoints" / "checkpoint-5").mkdir(parents=True)  # cut off, as on a full disk
    (out / "checkpoints" / "checkpoint-5" / "model.safetensors").write_bytes(b"half")
    monkeypatch.setattr(training.PretrainTrainer, "training_step", step)
    code, _, err = run("pretrain", out, "--text", text_file, *SMALL, "--ffn", "1x2x2")
    assert code == 0, err
    (row,) = rows.read_rows(out / "rows.jsonl", PretrainRow)
    assert row.ffn == "1x2x2"


def test_minutes_are_measured_again_where_nothing_was_learned(tmp_path, monkeypatch):
    monkeypatch.setattr(calibration, "tokens_per_second", lambda *args: 1000)
    recipe_ = get_recipe("tiny")()
    (tmp_path / "run.json").write_text('{"budget_tokens": 7}')
    assert calibration.tokens_for_minutes(recipe_, 1, 32, tmp_path).budget_tokens == 54_000
    (tmp_path / "rows.jsonl").write_text('{"kind": "pretrain"}\n')
    assert calibration.tokens_for_minutes(recipe_, 1, 32, tmp_path).budget_tokens == 7


def test_a_folder_of_another_kind_of_run_is_free_until_it_learned(tmp_path):
    run_folder.claim(tmp_path, "convert.json", {"a": 1}, resume=False)
    (tmp_path / "work" / "train").mkdir(parents=True)
    run_folder.claim(tmp_path, "run.json", {"a": 1}, resume=False)
    assert [path.name for path in tmp_path.iterdir()] == ["run.json"]
    complete = tmp_path / "checkpoints" / "checkpoint-1" / "complete"
    complete.parent.mkdir(parents=True)
    complete.touch()
    with pytest.raises(FileExistsError, match=r"checkpoint-1/complete of something else"):
        run_folder.claim(tmp_path, "convert.json", {"a": 1}, resume=True)
    with pytest.raises(FileExistsError, match="--resume"):
        run_folder.claim(tmp_path, "run.json", {"a": 1}, resume=False)
    run_folder.claim(tmp_path, "run.json", {"a": 1}, resume=True)


@pytest.mark.parametrize("name", ["checkpoints", "work", "controls"])
def test_what_is_of_something_else_is_not_deleted(run, dense, text_file, tmp_path, name):
    mine = tmp_path / "out" / name / "mine.txt"
    mine.parent.mkdir(parents=True)
    mine.write_text("precious")
    text = ["--text", text_file]
    for command in (
        ["pretrain", *text, *SMALL, mine.parents[1]],
        ["convert", dense, mine.parents[1], *text, "--tokens", "2000"],
    ):
        code, _, err = run(*command)
        assert code == 2
        assert f"{mine.parent} is of something else; choose another folder" in err
        assert mine.read_text() == "precious"


def test_settings_of_something_else_or_of_an_earlier_version(run, text_file, tmp_path):
    out = tmp_path / "out"
    (out / "work").mkdir(parents=True)
    (out / "work" / "notes.txt").write_text("precious")
    for settings in ('{"a": 1}', "no JSON", "[]"):
        (out / "run.json").write_text(settings)
        for resume in ([], ["--resume"]):
            code, _, err = run("pretrain", out, "--text", text_file, *SMALL, *resume)
            assert code == 2
            assert f"{out / 'run.json'} is of an earlier version" in err
    assert (out / "work" / "notes.txt").read_text() == "precious"
    assert (out / "run.json").read_text() == "[]"
