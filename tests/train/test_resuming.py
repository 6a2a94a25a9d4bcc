"""What a run that was cut off goes on with: content decides, not names or times."""

import dataclasses
import json
import os

import pytest
from encoders import save_dense_encoder, write_stsb
from short_runs import CONVERT, SMALL, cut_off, interrupt_at, time_by_name
from transformers import BertConfig, BertModel

from ultrafastbert import rows
from ultrafastbert.bench import encoder_latency as latency
from ultrafastbert.data import docstrings
from ultrafastbert.data.text import source_key, text_apart_from
from ultrafastbert.distill import SweepConfig, convert, sweep
from ultrafastbert.distill.sweep import models as sweep_models
from ultrafastbert.models.io.saved import model_digest
from ultrafastbert.quickstart import pretrain as quickstart
from ultrafastbert.rows.conversion import OfConversion
from ultrafastbert.train import finetune as glue
from ultrafastbert.train import resumable
from ultrafastbert.train.pretrain import get_recipe, training


@pytest.fixture(autouse=True)
def steady_clock(monkeypatch):
    monkeypatch.setattr(latency, "time_models", time_by_name)
    monkeypatch.setattr(sweep_models, "time_models", time_by_name)


@pytest.fixture
def dense(tokenizer, tmp_path):
    return save_dense_encoder(tokenizer, tmp_path / "dense")


def touch(path):
    os.utime(path, (1, 1))
    return path


def move(path):
    return path.rename(path.with_name(f"moved {path.name}"))


def change(path):
    text = path.read_text()
    path.write_text("X" + text[1:])  # of the same size ...
    return touch(path)  # ... and, with others that were touched, of the same time


def test_a_source_is_what_its_files_hold_in_order(text_file, tmp_path):
    key = source_key(text_file)
    assert source_key(move(touch(text_file))) == key
    folder = tmp_path / "folder"
    folder.mkdir()
    for name in ("a.txt", "b.txt"):
        (folder / name).write_text(name)
    files = [folder / "a.txt", folder / "b.txt"]
    assert source_key(folder) == source_key(files) != source_key(files[::-1])
    together = tmp_path / "together.txt"
    together.write_text("a.txtb.txt")
    assert source_key(together) != source_key(folder)
    key = source_key(folder)
    change(files[1])
    assert source_key(folder) != key


def test_a_model_is_what_its_folder_holds(dense, tmp_path):
    digest = model_digest(dense)
    assert model_digest(move(dense)) == digest
    (tmp_path / "moved dense" / "README.md").write_text("other")
    assert model_digest(tmp_path / "moved dense") == digest
    (tmp_path / "moved dense" / "tokenizer.json").unlink()
    (tmp_path / "moved dense" / "vocab.txt").write_text("[PAD]")
    digest = model_digest(tmp_path / "moved dense")
    (tmp_path / "moved dense" / "vocab.txt").write_text("[UNK]")
    assert model_digest(tmp_path / "moved dense") != digest


@pytest.fixture
def cut_off_pretraining(run, text_file, tmp_path, monkeypatch):
    """Return the folder of a pretraining that was ended after its first checkpoint."""
    step = training.PretrainTrainer.training_step

    def few_steps(self, *args, **options):
        if self.state.global_step == 20:
            raise KeyboardInterrupt
        return step(self, *args, **options)

    monkeypatch.setattr(resumable, "SAVE_SECONDS", 0.0)
    monkeypatch.setattr(training.PretrainTrainer, "training_step", few_steps)
    code, _, err = run("pretrain", tmp_path / "m", "--text", text_file, *SMALL)
    assert code == 130, err
    assert list((tmp_path / "m").glob("checkpoints/*/complete"))
    monkeypatch.setattr(training.PretrainTrainer, "training_step", step)
    return tmp_path / "m"


@pytest.mark.slow
@pytest.mark.parametrize("what", [touch, move])
def test_pretraining_goes_on_with_the_same_text(run, cut_off_pretraining, text_file, what):
    before = sorted(path.name for path in (cut_off_pretraining / "data").iterdir())
    options = [*SMALL, "--resume"]
    code, _, err = run("pretrain", cut_off_pretraining, "--text", what(text_file), *options)
    assert code == 0, err
    assert sorted(path.name for path in (cut_off_pretraining / "data").iterdir()) == before


@pytest.mark.slow
def test_pretraining_does_not_go_on_with_another_text(run, cut_off_pretraining, text_file):
    change(text_file)
    options = [*SMALL, "--resume"]
    code, _, err = run("pretrain", cut_off_pretraining, "--text", text_file, *options)
    assert code == 2
    assert "differs in model, text, validation" in err  # its vocabulary is another one, too


@pytest.mark.slow
def test_pretraining_does_not_go_on_with_another_validation_text(packed, tokenizer, tmp_path):
    recipe = get_recipe("tiny")(vocab_size=len(tokenizer), budget_tokens=2000)
    training.pretrain(recipe, *packed, tokenizer, tmp_path, "fff")
    with pytest.raises(ValueError, match="differs in validation;"):
        training.pretrain(recipe, packed[0], packed[0], tokenizer, tmp_path, "fff", resume=True)


@pytest.mark.slow
@pytest.mark.parametrize("what", [touch, move])
@pytest.mark.parametrize("kind", ["convert", "sweep"])
def test_conversions_go_on_with_the_same_inputs(dense, text_file, tmp_path, documents, kind, what):
    sentences = [line for document in documents for line in document.split(". ")]
    stsb = write_stsb(tmp_path / "glue", sentences)

    def work(model, text, glue_dir, **options):
        if kind == "convert":
            return convert(model, tmp_path / "out", text, CONVERT, glue_dir, **options)
        config = SweepConfig(("1x2x3",), tokens=1000, steps=5, batch_tokens=64)
        return sweep(model, tmp_path / "out", text, config, glue_dir=glue_dir, **options)

    with pytest.raises(KeyboardInterrupt):
        work(dense, text_file, stsb, on_status=interrupt_at("layer 1"))
    model, text, glue_dir = (what(path) for path in (dense, text_file, stsb))
    found = work(model, text, glue_dir, resume=True, on_status=interrupt_at("layer 0"))
    assert len({getattr(row, "original", None) for row in found} - {None}) <= 1
    change(text)
    with pytest.raises(ValueError, match="differs in text"):
        work(model, text, glue_dir, resume=True)


@pytest.mark.parametrize("what", ["model", "glue_dir"])
def test_conversions_do_not_go_on_with_other_inputs(dense, text_file, tmp_path, documents, what):
    sentences = [line for document in documents for line in document.split(". ")]
    stsb = write_stsb(tmp_path / "glue", sentences)
    convert(dense, tmp_path / "out", text_file, CONVERT, stsb)
    if what == "model":
        BertModel(BertConfig.from_pretrained(dense)).save_pretrained(dense)
    else:
        write_stsb(tmp_path / "other", sentences[::-1])
        stsb = tmp_path / "other"
    with pytest.raises(ValueError, match=f"differs in {what}"):
        convert(dense, tmp_path / "out", text_file, CONVERT, stsb, resume=True)


def test_rows_tell_the_name_of_a_model_in_the_working_directory(
    dense, text_file, tmp_path, monkeypatch
):
    monkeypatch.chdir(dense)
    found = convert(".", tmp_path / "out", text_file, CONVERT)
    assert {row.original for row in found if isinstance(row, OfConversion)} == {"dense"}


@pytest.mark.slow
def test_glue_knows_a_model_that_was_moved(dense, documents, tmp_path):
    sentences = [line for document in documents for line in document.split(". ")]
    stsb, path = write_stsb(tmp_path / "glue", sentences), tmp_path / "rows.jsonl"
    config = glue.GlueConfig(epochs=1, bf16=False)
    first = glue.run_glue(dense, ["stsb"], config, stsb, path)
    assert glue.run_glue(move(dense), ["stsb"], config, stsb, path) == first
    named = glue.run_glue(tmp_path / "moved dense", ["stsb"], config, stsb, path, model_name="new")
    assert named[0].model == "new"
    assert len(rows.read_rows(path)) == 2


@pytest.mark.slow
@pytest.mark.parametrize("what", [touch, move, change])
def test_a_quickstart_goes_on_with_the_same_text(text_file, tmp_path, monkeypatch, what):
    config = quickstart.QuickstartConfig(text=(str(text_file),), budget_tokens=5000)
    monkeypatch.setattr(quickstart, "_fine_tune", cut_off)
    with pytest.raises(KeyboardInterrupt):
        quickstart.quickstart(tmp_path / "out", config)
    again = dataclasses.replace(config, text=(str(what(text_file)),))
    message = "differs in text" if what is change else None
    with pytest.raises(ValueError if message else KeyboardInterrupt, match=message):
        quickstart.quickstart(tmp_path / "out", again, resume=True)


@pytest.mark.slow
def test_a_quickstart_goes_on_with_the_documentation_that_it_read(documents, tmp_path, monkeypatch):
    texts = [docstrings.LibraryText("python", f"{i}.py", text) for i, text in enumerate(documents)]
    monkeypatch.setattr(docstrings, "harvest", lambda *args, **options: iter(texts))
    monkeypatch.setattr(quickstart, "_fine_tune", cut_off)
    config = quickstart.QuickstartConfig(budget_tokens=5000)
    with pytest.raises(KeyboardInterrupt):
        quickstart.quickstart(tmp_path / "out", config)
    monkeypatch.setattr(docstrings, "harvest", lambda *args: iter(texts[1:]))  # an update
    with pytest.raises(KeyboardInterrupt):
        quickstart.quickstart(tmp_path / "out", config, resume=True)
    settings = json.loads((tmp_path / "out" / "model" / "run.json").read_text())
    assert settings["text"].startswith("rows-")


def test_the_output_is_not_read_as_text(dense, text_file, tmp_path, run):
    """Of a folder of texts that the output lies in; nor does it end a run that goes on."""
    out = tmp_path / "out"
    with pytest.raises(KeyboardInterrupt):
        convert(dense, out, [str(text_file)], CONVERT, on_status=interrupt_at("layer 1"))
    (out / "README.md").write_text("not text to learn from")
    assert text_apart_from(tmp_path, out) == [dense / "README.md", text_file]
    assert text_apart_from(out / "README.md", out) == [out / "README.md"]
    with pytest.raises(FileNotFoundError, match="the output's folder, not read as text"):
        text_apart_from(out, out)
    (dense / "README.md").unlink()
    convert(dense, out, tmp_path, CONVERT, resume=True)
    code, _, err = run("pretrain", out / "m", "--text", out / "m", *SMALL)
    assert (code, "not found" in err or "not read as text" in err) == (2, True)
