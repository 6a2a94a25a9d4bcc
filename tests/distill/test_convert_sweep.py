"""Sweeps: which member in which layer, measured as whole models, and one saved."""

import dataclasses
import itertools
import types

import pytest
import torch
from encoders import save_dense_encoder, write_stsb
from hypothesis import given
from hypothesis import strategies as st
from report_rows import sweep_rows
from short_runs import MEMBERS, SWEEP, time_by_name
from tiny_architectures import tiny_model
from transformers import AutoConfig, AutoModel

from ultrafastbert.bench import encoder_latency as latency
from ultrafastbert.bench import timing
from ultrafastbert.distill import SweepConfig, Target, sweep
from ultrafastbert.distill.sweep import models as sweep_models
from ultrafastbert.distill.sweep.allocation import pareto_front, within
from ultrafastbert.distill.sweep.held_out import HeldOut
from ultrafastbert.distill.sweep.variants import with_blocks
from ultrafastbert.models.converted.architectures import block_of
from ultrafastbert.models.converted.feedforward import ConvertedBlock
from ultrafastbert.models.converted.model import converted_copy
from ultrafastbert.report.figures import draw_all
from ultrafastbert.report.sweep_tables import describe, gains, sweep_table, trained


@pytest.fixture
def dense_folder(tokenizer, tmp_path):
    return save_dense_encoder(tokenizer, tmp_path / "dense")


@pytest.fixture
def text_file(documents, tmp_path):
    path = tmp_path / "text.txt"
    path.write_text("\n\n".join(documents))
    return path


@pytest.fixture
def stsb(documents, tmp_path):
    sentences = [line for document in documents for line in document.split(". ")]
    return write_stsb(tmp_path / "glue", sentences)


@pytest.fixture
def steady_clock(monkeypatch):
    monkeypatch.setattr(latency, "time_models", time_by_name)
    monkeypatch.setattr(sweep_models, "time_models", time_by_name)


errors = st.lists(
    st.fixed_dictionaries({name: st.integers(0, 20) for name in "abc"}), min_size=1, max_size=4
)


@given(errors, st.fixed_dictionaries({name: st.integers(0, 9) for name in "abc"}))
def test_the_front_holds_the_best_of_all_allocations(errors, times_ns):
    every = []
    for members in itertools.product("abc", repeat=len(errors)):
        error = sum(layer[member] for layer, member in zip(errors, members, strict=True))
        every.append((sum(times_ns[member] for member in members), error))
    front = [(time, error) for time, error, _ in pareto_front(errors, times_ns)]
    best = {
        (time, error)
        for time, error in every
        if not any(t <= time and e <= error and (t, e) != (time, error) for t, e in every)
    }
    assert front == sorted(best)


def test_the_best_within_a_time_is_found():
    front = pareto_front([{"a": 3.0, None: 0.0}, {"a": 1.0, None: 0.0}], {"a": 10, None: 20})
    assert [(a.time_ns, a.error) for a in front] == [(20, 4.0), (30, 1.0), (40, 0.0)]
    assert within(front, 35.0).members == (None, "a")
    assert within(front, 40).error == 0
    assert within(front, 19) is None


def test_variants_are_the_model_with_other_blocks(dense_folder):
    model = AutoModel.from_pretrained(dense_folder)
    ids = torch.randint(5, 100, (2, 7))
    before = model(ids).last_hidden_state
    block = ConvertedBlock(16, "1x2x3")
    variant = with_blocks(model, block_of(model), [None, block])
    assert variant.get_input_embeddings().weight is model.get_input_embeddings().weight
    converted = converted_copy(model, [None, "1x2x3"])
    converted.encoder.layer[1].intermediate.load_state_dict(block.state_dict())
    assert torch.equal(variant(ids).last_hidden_state, converted(ids).last_hidden_state)
    assert torch.equal(model(ids).last_hidden_state, before)


def test_what_a_model_leaves_unexplained_is_measured_without_padding(dense_folder, tokenizer):
    model = AutoModel.from_pretrained(dense_folder)
    held_out = HeldOut(model, tokenizer, ["the small tree", "a leaf finds the deep node"], 20)
    assert held_out.unexplained_states(model) == 0.0
    assert len(held_out.ids) == sum(map(len, held_out.states))
    other = with_blocks(model, block_of(model), [ConvertedBlock(16, "none"), None])
    assert 0 < held_out.unexplained_states(other) < 10


def test_a_model_is_made_once_however_its_errors_are_summed():
    rows = {
        "convert_member": [
            {"ffn": ffn, "latency_text_ms": ms}
            for ffn, ms in ((None, 9.0), ("1x2x3", 3.0), ("none", 1.5))
        ],
        "convert_layer": [
            {"layer": layer, "ffn": ffn, "unexplained_states": error}
            for layer, error in enumerate((0.1, 0.2, 0.3))
            for ffn in ("1x2x3", "none")
        ],
    }
    blocks = types.SimpleNamespace(
        config=SweepConfig(("1x2x3",)), n_layers=3, on_status=None, rows=rows.get
    )
    models = sweep_models.SweepModels(blocks, None)
    models.front = [a._replace(error=a.error + 1e-16) for a in models.front]
    made = [allocation.members for allocation in models.points()]
    assert len(made) == len(set(made)) > 3


@pytest.mark.usefixtures("steady_clock")
def test_a_sweep_measures_models_and_saves_one(dense_folder, text_file, stsb, tmp_path):
    out, said = tmp_path / "out", []
    rows = sweep(
        dense_folder, out, text_file, SWEEP, glue_dir=stsb, on_status=lambda *s: said.append(s)
    )
    assert ("layer 1: ff:4", 20, 20) in said
    layers = [row for row in rows if row["kind"] == "convert_layer"]
    assert [(row["layer"], row["ffn"]) for row in layers] == list(
        itertools.product((0, 1), (*MEMBERS, "none"))
    )
    models = {tuple(row["ffn"]): row for row in rows if row["kind"] == "convert_sweep"}
    for member in (None, *MEMBERS, "none"):
        assert (member, member) in models
    original = models[None, None]
    assert original["unexplained_states"] == original["summed_error"] == 0
    for row in models.values():
        assert row["latency_text_ms"] > 0
        assert row["latency_batch_ms"] > 0
        assert len(row["speedup_text"]) == len(row["speedup_batch"]) == 3
        assert -100 <= row["stsb_validation_spearman"] <= 100
    (choice,) = (row for row in rows if row["kind"] == "convert_choice")
    chosen = models[tuple(choice["ffn"])]
    assert (choice["target_speedup"], choice["target_explained"]) == (None, None)
    fastest = min(row["latency_text_ms"] for row in models.values())
    assert chosen["latency_text_ms"] <= (fastest + original["latency_text_ms"]) / 2
    assert AutoModel.from_pretrained(out).config.ffn == choice["ffn"]
    assert sweep(dense_folder, out, text_file, SWEEP, glue_dir=stsb, resume=True) == rows
    with pytest.raises(FileExistsError, match="--resume"):
        sweep(dense_folder, out, text_file, SWEEP)


@pytest.mark.usefixtures("steady_clock")
def test_another_target_saves_another_model_of_the_same_sweep(dense_folder, text_file, tmp_path):
    out = tmp_path / "out"
    rows = sweep(dense_folder, out, text_file, SWEEP, Target(explained=1.0))
    model = AutoModel.from_pretrained(out)
    assert model.config.ffn == [None, None]
    said = []
    again = sweep(
        dense_folder,
        out,
        text_file,
        SWEEP,
        Target(explained=1e-9),
        resume=True,
        on_status=lambda *s: said.append(s),
    )
    assert again[: len(rows)] == rows
    assert again[-1]["kind"] == "convert_choice"
    assert AutoModel.from_pretrained(out).config.ffn == again[-1]["ffn"] != [None, None]
    assert not any(what.startswith("layer") for what, *_ in said)
    faster = sweep(dense_folder, out, text_file, SWEEP, Target(speedup=1.2), resume=True)
    assert faster[-1]["target_speedup"] == 1.2
    assert sorted(map(bool, faster[-1]["ffn"])) == [False, True]
    with pytest.raises(ValueError, match=r"target_speedup=4 is out of reach: .* is 3\.00 times"):
        sweep(dense_folder, out, text_file, SWEEP, Target(speedup=4), resume=True)


@pytest.mark.usefixtures("steady_clock")
def test_the_chosen_model_is_trained_as_a_whole(dense_folder, text_file, stsb, tmp_path):
    out, said = tmp_path / "out", []
    whole = {"end_to_end_steps": 30, "end_to_end_tokens": 2000, "glue_dir": stsb}
    layers_only = sweep(dense_folder, out, text_file, SWEEP, Target(speedup=3.0), glue_dir=stsb)
    before = AutoModel.from_pretrained(out)
    assert trained(layers_only) == []

    def interrupt(what, done, total):
        if what.startswith("end to end") and done == 20:
            raise KeyboardInterrupt

    options = {"resume": True, **whole}
    with pytest.raises(KeyboardInterrupt):
        sweep(
            dense_folder, out, text_file, SWEEP, Target(speedup=3.0), on_status=interrupt, **options
        )
    rows = sweep(
        dense_folder,
        out,
        text_file,
        SWEEP,
        Target(speedup=3.0),
        on_status=lambda *status: said.append(status),
        **options,
    )
    assert ("end to end: the chosen model", 30, 30) in said
    after, choice = AutoModel.from_pretrained(out), rows[-1]
    assert after.config.ffn == before.config.ffn == choice["ffn"]
    (model,) = [r for r in rows if r["kind"] == "convert_sweep" and r["ffn"] == choice["ffn"]]
    assert choice["unexplained_states"] < model["unexplained_states"]
    (text,) = trained(rows)
    assert "30 training steps" in text
    assert "STS-B" in text
    assert not (out / "work" / "end_to_end").exists()
    assert sweep(dense_folder, out, text_file, SWEEP, Target(speedup=3.0), **options) == rows
    # What an interrupted run left is of no use to one with other settings.
    with pytest.raises(KeyboardInterrupt):
        sweep(
            dense_folder,
            out,
            text_file,
            SWEEP,
            Target(speedup=3.0),
            on_status=interrupt,
            **{**options, "end_to_end_steps": 40},
        )
    shorter = {**options, "end_to_end_steps": 12, "end_to_end_tokens": 1000}
    after_it = sweep(dense_folder, out, text_file, SWEEP, Target(speedup=3.0), **shorter)[-1]
    sweep(dense_folder, out, text_file, SWEEP, Target(speedup=3.0), resume=True, glue_dir=stsb)
    alone = sweep(dense_folder, out, text_file, SWEEP, Target(speedup=3.0), **shorter)[-1]
    assert alone == after_it
    with pytest.raises(ValueError, match="end_to_end_steps=-1 must be at least 0"):
        sweep(dense_folder, out, text_file, SWEEP, resume=True, end_to_end_steps=-1)


@pytest.mark.usefixtures("steady_clock")
def test_an_interrupted_sweep_goes_on(dense_folder, text_file, tmp_path):
    def interrupted(at, resume=True):
        def on_status(what, done, total):
            if at in what:
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            sweep(
                dense_folder, tmp_path / "a", text_file, SWEEP, resume=resume, on_status=on_status
            )

    interrupted("layer 1", resume=False)
    for at in ("timing each", "beside the original", "measuring"):
        interrupted(at)
    resumed = sweep(dense_folder, tmp_path / "a", text_file, SWEEP, resume=True)
    straight = sweep(dense_folder, tmp_path / "b", text_file, SWEEP)
    volatile = ("other_load_text", "other_load_batch")
    resumed, straight = (
        [{name: value for name, value in dict(row).items() if name not in volatile} for row in rows]
        for rows in (resumed, straight)
    )
    assert resumed == straight


class Measured:
    """Blocks of a sweep of which only the rows of models are there."""

    config, n_layers, on_status = SweepConfig(("1x2",)), 2, None

    def rows(self, kind):
        assert kind == "convert_sweep"
        measured = {
            (None, None): (1.0, 0.0),
            ("1x2", None): (1.6, 0.3),
            (None, "1x2"): (1.5, 0.2),
            ("1x2", "1x2"): (2.0, 0.25),
            ("none", "none"): (2.5, 0.9),
        }
        return [
            {"ffn": list(ffn), "speedup_text": (0.0, speedup, 9.0), "unexplained_states": error}
            for ffn, (speedup, error) in measured.items()
        ]


@pytest.mark.parametrize(
    ("target", "chosen"),
    [
        (Target(speedup=1.4), (None, "1x2")),
        (Target(speedup=1.55), ("1x2", "1x2")),
        (Target(speedup=2.1), ("1x2", "1x2")),
        (Target(explained=0.7), ("1x2", "1x2")),
        (Target(explained=0.8), (None, "1x2")),
        (Target(explained=0.9), (None, None)),
        (Target(), (None, "1x2")),
    ],
)
def test_the_best_is_chosen_by_what_was_measured(target, chosen):
    assert sweep_models.SweepModels(Measured(), None).choose(target) == chosen


def test_wrong_sweeps_are_named(dense_folder, text_file, tmp_path):
    config = dataclasses.replace(SWEEP, block="layers.*.ff")
    with pytest.raises(ValueError, match=r"block='layers\.\*\.ff' is nowhere in BertModel"):
        sweep(dense_folder, tmp_path / "out", text_file, config)
    with pytest.raises(ValueError, match="each named once"):
        SweepConfig(("1x2x3", "1x2x3"))
    with pytest.raises(ValueError, match=r"members='glu:8' is gated"):
        SweepConfig(("glu:8",))
    with pytest.raises(ValueError, match="ffn 'two' is unknown"):
        SweepConfig(("two",))
    with pytest.raises(ValueError, match="steps=0"):
        dataclasses.replace(SWEEP, steps=0)
    long = dataclasses.replace(SWEEP, max_length=513)
    with pytest.raises(ValueError, match="max_length=513 must be at most 512"):
        sweep(dense_folder, tmp_path / "long", text_file, long)
    with pytest.raises(ValueError, match="give one of them"):
        Target(2.0, 0.9)
    with pytest.raises(ValueError, match=r"speedup=0\.5 must be at least 1"):
        Target(0.5)
    with pytest.raises(ValueError, match=r"explained=90 must be above 0 and at most 1"):
        Target(explained=90)


@pytest.mark.usefixtures("steady_clock")
def test_another_architecture_sweeps(tokenizer, text_file, tmp_path):
    tiny_model("modernbert").save_pretrained(tmp_path / "dense")
    tokenizer.save_pretrained(tmp_path / "dense")
    config = dataclasses.replace(SWEEP, members=("1x2x3",), block="layers.*.mlp")
    rows = sweep(tmp_path / "dense", tmp_path / "out", text_file, config, Target(speedup=2))
    assert rows[-1]["ffn"] == ["1x2x3", "1x2x3"]
    model = AutoModel.from_pretrained(tmp_path / "out")
    assert type(model).__name__ == "ConvertedModernBertModel"


def test_models_are_timed_beside_the_original(dense_folder, tokenizer, monkeypatch):
    monkeypatch.setattr(timing, "TURN_SECONDS", 1e-3)
    monkeypatch.setattr(latency, "SECONDS", 0.0)
    config = AutoConfig.from_pretrained(dense_folder, max_position_embeddings=77)
    model = AutoModel.from_config(config).eval()  # of fewer positions than a query has
    other = with_blocks(model, block_of(model), [ConvertedBlock(16, "none"), None])
    models = {"original": model, "none": other}
    fields = latency.latency_fields(models, "original", torch.arange(5, 100))
    assert fields["original"]["speedup_text"] == (1.0, 1.0, 1.0)
    for row in fields.values():
        assert row["latency_text_ms"] > 0
        assert row["latency_batch_ms"] > 0
        assert row["speedup_batch"][0] <= row["speedup_batch"][1] <= row["speedup_batch"][2]


@pytest.mark.usefixtures("steady_clock")
def test_the_command_sweeps(dense_folder, text_file, tmp_path, run):
    out = tmp_path / "out"
    command = ["convert", dense_folder, out, "--text", text_file, "--tokens", 2000, "--steps", 5]
    members = ["--sweep", "1x2x3, 1x1x2"]
    code, _, error = run(*command, *members, "--ffn", "1x2x3")
    assert code == 2
    assert "--ffn does not go with --sweep" in error
    code, _, error = run(*command, "--target-speedup", 2)
    assert code == 2
    assert "--target-speedup needs --sweep" in error
    code, printed, error = run(*command, *members, "--target-speedup", 1.2)
    assert code == 0, error
    assert "| fast feedforward (1x1x2) | 3 |" in printed
    assert "| 1x2x3 in every layer" in printed
    assert "(chosen)" in printed
    assert (out / "figures" / "sweep.png").exists()
    card = (out / "README.md").read_text()
    assert "may have been trained with them" in card
    assert "### Which layer where" in card
    assert "(chosen)" in card
    code, _, error = run("report", "write", out)
    assert code == 0, error
    for name in ("report.md", "README.md"):
        assert "Which layer where" in (out / name).read_text()


def test_models_of_a_sweep_become_a_table_and_a_figure(tmp_path):
    lines = sweep_table(sweep_rows()).splitlines()
    assert lines[2].startswith("| the original | 0.0 | 87.0 | 10.0 | 1.00x (0.90 to 1.10)")
    chosen = (
        "| original, 2 x 1x2 (chosen) | 12.3 | 85.5 | 5.00 | 2.00x (1.80 to 2.20) | 40.0 | 4.00x |"
    )
    assert chosen in lines
    (gain,) = gains(sweep_rows())
    assert "original, 2 x 1x2 has an FVU of the last hidden states of 12.3 %" in gain
    assert "instead of 30.0 %" in gain
    assert draw_all(sweep_rows(), tmp_path)["sweep"].stat().st_size > 10_000
    assert sweep_table([]) == ""
    assert gains([]) == []
    assert "sweep" not in draw_all([], tmp_path)


def test_layers_are_described_in_few_words():
    assert describe((None, None)) == "the original"
    assert describe(("1x2",) * 3) == "1x2 in every layer"
    assert describe(("1x2", "1x2", None, "none")) == "2 x 1x2, original, none"
