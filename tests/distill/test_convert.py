"""Conversions: what is saved loads, what was cut off goes on, and what is measured is printed."""

import dataclasses
import inspect
import itertools

import pytest
import torch
from short_runs import ALL_STAGES
from transformers import AutoModel

from ultrafastbert.cli import convert_options
from ultrafastbert.cli.convert import convert_command
from ultrafastbert.cli.sweep import sweep_command
from ultrafastbert.distill import ConvertConfig, SweepConfig, convert, end_to_end
from ultrafastbert.report.convert_tables import convert_table, convert_task_table
from ultrafastbert.rows.conversion import (
    ConvertCurveRow,
    ConvertLayerRow,
    ConvertLayerwiseRow,
    ConvertRow,
    ConvertSequentialRow,
    ConvertTaskRow,
    ConvertTimeRow,
)
from ultrafastbert.rows.row import columns_of
from ultrafastbert.train import resumable


def fvus(rows):
    layers = (row for row in rows if isinstance(row, ConvertLayerRow | ConvertSequentialRow))
    return [row.fvu for row in layers]


@pytest.mark.slow
def test_convert_makes_a_model_and_its_controls(dense_folder, text_file, stsb, ids, tmp_path):
    out = tmp_path / "out"
    said = []
    rows = convert(
        dense_folder,
        out,
        text_file,
        ALL_STAGES,
        stsb,
        on_status=lambda *said_: said.append(said_[:3]),
    )
    assert ("layer 0: 1x2x3 (fff, seed 0)", 20, 20) in said
    layers = [row for row in rows if isinstance(row, ConvertLayerRow)]
    assert [(row.layer, row.model) for row in layers[:5]] == [
        (0, name) for name in ("fff", "random", "ff_active", "ff_equal_latency", "none")
    ]
    (timed,) = (row for row in rows if isinstance(row, ConvertTimeRow))
    dense = f"ff:{timed.width}"
    assert [row.ffn for row in layers[5:]] == ["1x2x3", "1x2x3", "ff:5", dense, "none"]
    models = {row.model: row for row in rows if isinstance(row, ConvertRow)}
    assert set(models) == {"fff", "random", "ff_active", "ff_equal_latency", "none", "teacher"}
    before = {row.model: row for row in rows if isinstance(row, ConvertLayerwiseRow)}
    assert set(before) == set(models) - {"teacher"}
    for name, row in before.items():  # the error that training end to end begins with
        assert row.fvu_states > models[name].fvu_states
    assert layers[0].fvu < layers[4].fvu
    assert all(-100 <= row.scores[0].value <= 100 for row in models.values())
    for folder in (out, out / "controls" / "ff_active"):
        assert AutoModel.from_pretrained(folder)(ids).last_hidden_state.isfinite().all()
        assert (folder / "1_Pooling" / "config.json").exists()
        assert not (folder / "pytorch_model.bin").exists()
    assert not (out / "work").exists()
    assert convert(dense_folder, out, text_file, ALL_STAGES, stsb, resume=True) == rows
    with pytest.raises(FileExistsError, match="--resume"):
        convert(dense_folder, out, text_file, ALL_STAGES, stsb)
    other = dataclasses.replace(ALL_STAGES, seeds=(1,))
    with pytest.raises(ValueError, match="differs in seeds"):
        convert(dense_folder, out, text_file, other, stsb, resume=True)


@pytest.mark.slow
def test_several_seeds_and_tasks(dense_folder, text_file, stsb, tmp_path):
    config = dataclasses.replace(ALL_STAGES, seeds=(3, 5), tasks=("stsb",), end_to_end_steps=1)
    rows = convert(dense_folder, tmp_path / "out", text_file, config, stsb)
    layers = [row for row in rows if isinstance(row, ConvertLayerRow)]
    assert len(layers) == 2 * 2 * 5
    errors = {row.seed: row.fvu for row in layers if row.layer == 0 and row.model == "fff"}
    assert errors[3] != errors[5]
    tuned = {(row.model, row.seed) for row in rows if isinstance(row, ConvertTaskRow)}
    models = ("fff", "random", "ff_active", "ff_equal_latency", "none", "teacher")
    assert tuned == set(itertools.product(models, (3, 5)))
    table = convert_table(rows)
    assert "| fast feedforward (1x2x3) | 5 | " in table
    assert " ± " in table
    assert "| the original | - | " in convert_task_table(rows)
    with pytest.raises(ValueError, match="need glue_dir"):
        convert(dense_folder, tmp_path / "other", text_file, config)


def test_convert_reads_pairs(dense_folder, typed_tokenizer, documents, ids, tmp_path):
    typed_tokenizer.save_pretrained(dense_folder)
    path = tmp_path / "paragraphs.txt"
    path.write_text("\n\n".join(documents))
    out, config = tmp_path / "out", dataclasses.replace(ALL_STAGES, controls=False)
    rows = convert(dense_folder, out, path, config)
    models = {row.model: row for row in rows if isinstance(row, ConvertRow)}
    assert models["teacher"].fvu_states < 1e-3
    assert AutoModel.from_pretrained(out)(ids).last_hidden_state.isfinite().all()


def test_an_interrupted_conversion_goes_on(dense_folder, text_file, tmp_path, monkeypatch):
    config = dataclasses.replace(ALL_STAGES, controls=False, end_to_end_steps=6)

    def interrupt(what, done, total, *_):
        if what.startswith("layer 1:"):
            raise KeyboardInterrupt

    def interrupt_sequential(what, done, total, *_):
        if what.startswith("layer 1, sequential"):
            raise KeyboardInterrupt

    def interrupt_later(what, done, total, *_):
        if what.startswith("end to end") and done == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        convert(dense_folder, tmp_path / "a", text_file, config, on_status=interrupt)
    with pytest.raises(KeyboardInterrupt):
        convert(
            dense_folder,
            tmp_path / "a",
            text_file,
            config,
            resume=True,
            on_status=interrupt_sequential,
        )
    monkeypatch.setattr(resumable, "SAVE_SECONDS", 0.0)
    monkeypatch.setattr(end_to_end, "LOGGING_STEPS", 1)
    with pytest.raises(KeyboardInterrupt):
        convert(
            dense_folder, tmp_path / "a", text_file, config, resume=True, on_status=interrupt_later
        )
    resumed = convert(dense_folder, tmp_path / "a", text_file, config, resume=True)
    straight = convert(dense_folder, tmp_path / "b", text_file, config)
    assert fvus(resumed) == fvus(straight)
    curves = [
        [(row.step, row.fvu_states) for row in rows if isinstance(row, ConvertCurveRow)]
        for rows in (resumed, straight)
    ]
    assert curves[0] == curves[1]
    assert [step for step, _ in curves[0]] == list(range(7))
    models = [AutoModel.from_pretrained(tmp_path / name).state_dict() for name in "ab"]
    assert all(torch.equal(models[0][name], models[1][name]) for name in models[0])


def test_some_layers_convert_alone(dense_folder, text_file, tmp_path):
    config = dataclasses.replace(ALL_STAGES, controls=False, layer_ids=(1,))
    convert(dense_folder, tmp_path / "out", text_file, config)
    assert AutoModel.from_pretrained(tmp_path / "out").config.ffn == [None, "1x2x3"]
    config = dataclasses.replace(config, layer_ids=(2,))
    with pytest.raises(ValueError, match="layer 2 is not there: the model has layers 0 to 1"):
        convert(dense_folder, tmp_path / "other", text_file, config)


def test_sentence_transformers_load_a_converted_model(dense_folder, text_file, tmp_path):
    st = pytest.importorskip("sentence_transformers")
    dense = tmp_path / "sentences"
    st.SentenceTransformer(str(dense_folder), device="cpu").save(str(dense))
    convert(dense, tmp_path / "out", text_file, dataclasses.replace(ALL_STAGES, controls=False))
    model = st.SentenceTransformer(str(tmp_path / "out"), device="cpu")
    assert type(model[0].auto_model).__name__ == "ConvertedBertModel"
    assert [type(module).__name__ for module in model] == ["Transformer", "Pooling"]
    assert model.encode(["the small tree", "a leaf"]).shape == (2, 16)


@pytest.mark.slow
def test_the_command_converts_and_prints_tables(dense_folder, text_file, stsb, tmp_path, run):
    sizes = ["--ffn", "1x2x3", "--tokens", "2000", "--steps", "5", "--end-to-end-steps", "1"]
    sizes += ["--dense-widths", "8,16", "--ablations", "--sequential-steps", "2"]
    command = ["convert", dense_folder, tmp_path / "out", "--text", text_file, "--glue-dir", stsb]
    code, printed, error = run(*command, *sizes)
    assert not code, error
    lines = printed.splitlines()
    title = columns_of(ConvertLayerRow)["fvu_after_norm"].title
    assert lines[0].startswith("**dense, 1x2x3, 5 ")
    assert lines[2].startswith(f"| {title} | neurons used | layer 0 |")
    assert any(line.startswith("| dense, as wide as the active neurons (ff:5)") for line in lines)
    assert any(line.startswith("| dense (ff:8) | 8 | ") for line in lines)
    assert any(line.startswith("| the same with fixed principal splits (1x2x3)") for line in lines)
    assert any(line.startswith("| that width over the neurons used |") for line in lines)
    assert any(line.startswith("| the original | - | ") for line in lines)


@pytest.mark.parametrize(
    ("command", "config"), [(convert_command, ConvertConfig()), (sweep_command, SweepConfig())]
)
def test_commands_have_the_defaults_of_configurations(command, config):
    parameters = inspect.signature(command).parameters.items()
    given = {name: parameter.default for name, parameter in parameters}
    assert type(config)(**convert_options.settings(type(config), given)) == config


@pytest.mark.parametrize(
    ("old", "new"), [("block", "ff-location"), ("in-sequence-steps", "sequential-steps")]
)
def test_the_old_name_of_an_option_leads_to_the_new_one(run, tmp_path, old, new):
    code, _, error = run("convert", tmp_path, tmp_path, "--text", "a", f"--{old}", "3")
    assert code == 2
    assert f"--{old} is called --{new} now" in error
