"""The command line as a user meets it: help, results, and one clear line for what is wrong."""

import json
import subprocess
import sys

import pytest

from ultrafastbert import rows
from ultrafastbert.rows.layers import LayerRow, WidthRow
from ultrafastbert.rows.training import GlueRow, PretrainRow

SMALL = ["--recipe", "tiny", "--tokens", "20000", "--vocab-size", "200", "--seq-length", "32"]


@pytest.fixture(scope="session")
def text_file(documents, tmp_path_factory):
    path = tmp_path_factory.mktemp("text") / "corpus.txt"
    path.write_text("\n\n".join(documents), encoding="utf-8")
    return path


@pytest.fixture(scope="session")
def trained(text_file, tmp_path_factory):
    """Folder of a model pretrained by the command."""
    out = tmp_path_factory.mktemp("trained") / "model"
    command = [sys.executable, "-m", "ultrafastbert", "pretrain", out, "--text", text_file, *SMALL]
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "1x5x16" in done.stdout
    assert "1x5x16" in (out / "README.md").read_text().partition("## Results")[2]
    return out


@pytest.mark.slow
def test_fill_mask_answers(run, trained):
    code, out, _ = run("fill-mask", trained, "The [MASK] leaf skips the deep node.", "--top", 3)
    assert code == 0
    assert out.count("%") == 3
    assert "[MASK] 1" in out


def test_resumed_run_that_is_finished_gives_its_row(run, trained, text_file):
    code, out, _ = run("pretrain", trained, "--text", text_file, *SMALL, "--resume")
    assert code == 0
    assert "1x5x16" in out


def test_minutes_become_tokens(run, text_file, tmp_path):
    size = ["--recipe", "tiny", "--vocab-size", "200", "--seq-length", "32"]
    code, _, err = run("pretrain", tmp_path / "m", "--text", text_file, *size, "--minutes", "0.02")
    assert code == 0, err
    (row,) = rows.read_rows(tmp_path / "m" / "rows.jsonl", PretrainRow)
    assert row.tokens > 32


@pytest.mark.slow
def test_bench_layer_prints_a_table_and_keeps_rows(run, tmp_path):
    path = tmp_path / "rows.jsonl"
    options = ["--ffn", "1x3", "--hidden-size", 32, "--tokens", "1,8", "--threads", 1]
    code, out, err = run("bench", "layer", *options, "--seconds", 0.05, "--rows", path)
    assert code == 0, err
    assert "1x3" in out
    assert rows.read_rows(path, LayerRow)
    assert f"0:00:00 starting; rows: {path}\n0:00:00 measuring the machine\n" in err
    assert "timing the layer: 0/4 cases (0 %)" in err


@pytest.mark.slow
def test_bench_layer_takes_passes_and_caches(run, tmp_path):
    path = tmp_path / "rows.jsonl"
    options = ["--ffn", "1x3", "--hidden-size", 32, "--tokens", "4", "--threads", 1]
    options += ["--passes", "forward", "--cache", "hot,fresh", "--seconds", 0.05, "--rows", path]
    code, _, err = run("bench", "layer", *options)
    assert code == 0, err
    found = rows.read_rows(path, LayerRow)
    assert {(row.pass_name, row.cache) for row in found} == {
        ("forward", "hot"),
        ("forward", "fresh"),
    }


@pytest.mark.slow
def test_bench_width_prints_a_table_and_keeps_rows(run, tmp_path):
    path = tmp_path / "rows.jsonl"
    options = ["--depths", "2..3", "--hidden-size", 32, "--tokens", "1", "--seconds", 0.05]
    code, out, err = run("bench", "width", *options, "--rows", path)
    assert code == 0, err
    assert "| 15 | 4 |" in out
    assert {row.n_neurons for row in rows.read_rows(path, WidthRow)} == {7, 15}


WRONG = {
    "empty corpus": (["pretrain", "{new}", "--text", "{empty}"], "no documents"),
    "missing text": (["pretrain", "{new}", "--text", "{new}/none.txt"], "not found"),
    "unknown recipe": (["pretrain", "{new}", "--text", "{text}", "--recipe", "huge"], "huge"),
    "negative depth": (["pretrain", "{new}", "--text", "{text}", "--ffn", "1x-3"], "1x-3"),
    "beyond memory": (["pretrain", "{new}", "--text", "{text}", "--ffn", "1x23", *SMALL], "GiB"),
    "too deep": (["pretrain", "{new}", "--text", "{text}", "--ffn", "1x30", *SMALL], "GiB"),
    "no budget": (["pretrain", "{new}", "--text", "{text}", "--tokens", "0"], "budget_tokens=0"),
    "two budgets": (
        ["pretrain", "{new}", "--text", "{text}", "--tokens", "9", "--minutes", "1"],
        "one of --tokens",
    ),
    "existing run": (["pretrain", "{model}", "--text", "{text}", *SMALL], "--resume"),
    "no model": (["fill-mask", "{new}", "a [MASK]"], "config.json"),
    "no mask": (["fill-mask", "{model}", "a word"], "no [MASK]"),
    "no glue data": (["glue", "{model}", "--task", "cola", "--data-dir", "{new}"], "{new}"),
    "unknown task": (["glue", "{model}", "--task", "colla", "--data-dir", "{new}"], "colla"),
    "unknown family": (["bench", "layer", "--ffn", "eleven"], "eleven"),
    "bad numbers": (["bench", "layer", "--tokens", "one"], "--tokens"),
    "unknown cache": (["bench", "layer", "--cache", "warm"], "hot, fresh, cold"),
    "bad depths": (["bench", "width", "--depths", "3-19"], "3..19"),
    "no rows": (["report", "write", "{new}"], "{new}"),
    "dense quickstart": (["quickstart", "{new}", "--ffn", "ff:8"], "ff:8"),
    "used folder": (["quickstart", "{model}"], "not empty"),
    "unknown option": (["quickstart", "--fast"], "--fast"),
    "old command": (
        ["shrink", "{model}", "{new}", "--weight-dtype", "int8"],
        "is now `ultrafastbert quantize`",
    ),
    "minilm alone": (["quickstart", "{new}", "--convert", "--tokens", "9"], "--tokens does not go"),
}


@pytest.mark.parametrize("case", WRONG)
def test_wrong_input_is_one_clear_line(run, trained, text_file, tmp_path, case):
    empty = tmp_path / "empty.txt"
    empty.write_text("")
    names = {"new": tmp_path / "new", "text": text_file, "empty": empty, "model": trained}
    before = {path: path.stat().st_mtime_ns for path in trained.rglob("*")}
    arguments, message = WRONG[case]
    code, out, err = run(*(argument.format(**names) for argument in arguments))
    assert code == 2, (out, err)
    assert message.format(**names) in err
    assert "Traceback" not in err
    if case != "unknown option":  # typer draws a box around its own
        assert [line for line in err.splitlines() if line.startswith("error: ")]
    assert {path: path.stat().st_mtime_ns for path in trained.rglob("*")} == before


def damaged(trained, folder, change):
    folder.mkdir()
    for path in trained.glob("*.json"):
        (folder / path.name).write_bytes(path.read_bytes())
    weights = (trained / "model.safetensors").read_bytes()
    (folder / "model.safetensors").write_bytes(change(weights))
    return folder


@pytest.mark.parametrize(
    "change", [lambda w: w[: len(w) // 2], lambda w: w[:4], lambda w: b"\xff" * 64 + w[64:]]
)
def test_damaged_checkpoint_is_refused(run, trained, tmp_path, change):
    code, _, err = run("fill-mask", damaged(trained, tmp_path / "m", change), "a [MASK]")
    assert code == 2
    assert err.startswith("error: ")


def test_weights_that_are_not_numbers_are_refused(run, trained, tmp_path):
    from safetensors.torch import load_file, save_file

    folder = damaged(trained, tmp_path / "m", lambda w: w)
    weights = load_file(folder / "model.safetensors")
    weights["model.layers.0.ffn.w_in"][:] = float("nan")
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    code, _, err = run("fill-mask", folder, "a [MASK]")
    assert code == 2
    assert "not finite (NaN or infinite)" in err


def test_weights_that_are_missing_are_not_drawn_at_random(run, trained, tmp_path):
    from safetensors.torch import load_file, save_file

    folder = damaged(trained, tmp_path / "m", lambda w: w)
    weights = load_file(folder / "model.safetensors")
    del weights["model.layers.0.ffn.w_in"]
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    code, _, err = run("fill-mask", folder, "a [MASK]")
    assert code == 2
    assert "lacks weights of the model: 'model.layers.0.ffn.w_in'" in err


def test_weights_of_other_sizes_are_refused(run, trained, tmp_path):
    folder = damaged(trained, tmp_path / "m", lambda w: w)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"tree_depth": 4}))
    code, _, err = run("fill-mask", folder, "a [MASK]")
    assert code == 2
    assert "do not fit its config.json" in err


def test_pickles_are_refused(run, trained, tmp_path):
    import torch

    folder = damaged(trained, tmp_path / "m", lambda w: w)
    (folder / "model.safetensors").unlink()
    torch.save({}, folder / "pytorch_model.bin")
    code, _, err = run("fill-mask", folder, "a [MASK]")
    assert code == 2
    assert "safetensors" in err


def test_a_mistake_does_not_block_the_folder(run, text_file, tmp_path):
    out = tmp_path / "m"
    assert run("pretrain", out, "--text", text_file, *SMALL, "--tokens", "10")[0] == 2
    assert run("pretrain", out, "--text", text_file, *SMALL)[0] == 0
    assert run("quickstart", tmp_path / "q", "--text", "missing.txt")[0] == 2
    assert not (tmp_path / "q").exists()
    assert run("quickstart", tmp_path / "q", "--glue-dir", tmp_path / "none")[0] == 2
    assert not (tmp_path / "q").exists()


def test_full_disk_is_one_clear_line(run, text_file, tmp_path, monkeypatch):
    from ultrafastbert.models import UltraFastBertForMaskedLM

    def full(*args, **kwargs):
        raise OSError(28, "No space left on device", "model.safetensors")

    monkeypatch.setattr(UltraFastBertForMaskedLM, "save_pretrained", full)
    code, _, err = run("pretrain", tmp_path / "m", "--text", text_file, *SMALL)
    assert code == 2
    assert "No space left on device" in err


def test_interruption_says_how_to_go_on(run, text_file, tmp_path, monkeypatch):
    from ultrafastbert.train.pretrain import training

    def interrupt(*args, **kwargs):
        raise KeyboardInterrupt

    monkeypatch.setattr(training.PretrainTrainer, "training_step", interrupt)
    code, _, err = run("pretrain", tmp_path / "m", "--text", text_file, *SMALL)
    assert code == 130
    assert "--resume" in err


@pytest.mark.slow
def test_quickstart_from_own_text_and_glue(run, text_file, tmp_path, monkeypatch):
    """The main job end to end on tiny inputs; a finished one is not overwritten."""
    from ultrafastbert.quickstart import pretrain as quickstart

    monkeypatch.setattr(quickstart, "GLUE_TASKS", ("cola",))
    monkeypatch.setattr(quickstart, "LAYER_TOKENS", (1, 8))
    glue = tmp_path / "glue" / "cola"
    glue.mkdir(parents=True)
    for split in ("train", "validation"):
        lines = [{"sentence": f"the node {i}", "label": i % 2, "idx": i} for i in range(20)]
        (glue / f"{split}.jsonl").write_text("\n".join(map(json.dumps, lines)))
    out = tmp_path / "out"
    options = ["--text", text_file, "--glue-dir", glue.parent, "--tokens", 20000]
    options += ["--ffn", "1x2x2", "--bench-seconds", 0.02, "--seeds", 2]
    code, printed, err = run("quickstart", out, *options)
    assert code == 0, err
    assert "fill-mask" in printed
    stages = ("reading text", "preparing validation text", "pretraining none, seed 1: ")
    stages += ("validating none, seed 1",)
    stages += ("fine-tuning ff on cola: training", "timing: 0/", "drawing figures")
    assert all(f" {stage}" in err for stage in stages), err
    assert (out / "report.html").stat().st_size > 10_000
    kinds = {row.kind for row in rows.read_rows(out)}
    assert {"pretrain", "pretrain_curve", "glue", "layer", "model"} <= kinds
    card = (out / "model" / "README.md").read_text()
    assert all(heading in card for heading in ("### Pretraining", "tasks", "whole model"))
    assert "This model is called none." in (out / "controls" / "none" / "README.md").read_text()
    models = sorted((row.name, row.seed) for row in rows.read_rows(out, PretrainRow))
    assert models == [
        (name, seed) for name in ("ff", "ff_active", "fff", "none") for seed in (0, 1)
    ]
    assert "seeds where the tree is ahead" in (out / "report.md").read_text()
    assert {row.model for row in rows.read_rows(out, GlueRow)} == {name for name, _ in models}
    assert run("quickstart", out, *options)[0] == 2
    n_rows = len(rows.read_rows(out))
    assert run("quickstart", out, *options, "--resume")[0] == 0
    assert len(rows.read_rows(out)) == n_rows
