"""Pretraining: the plan, the recipes, resuming, and learning at all."""

import dataclasses
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from kernel_cases import usable
from transformers import AutoModelForMaskedLM, AutoTokenizer, TrainerCallback

import ultrafastbert
from ultrafastbert import UltraFastBertForMaskedLM, rows
from ultrafastbert.data.masking import MaskedStream, collate
from ultrafastbert.rows.training import PretrainCurveRow
from ultrafastbert.train import resumable
from ultrafastbert.train.pretrain import RECIPES, get_recipe, pretrain, training
from ultrafastbert.train.pretrain.plan import RampedBatches, batch_ramp, triangle
from ultrafastbert.train.resumable import COMPLETE, last_checkpoint


def config(tokenizer, ffn="1x3x4", **changes):
    options = {"budget_tokens": 40_000, "batch_size": 16, **changes}
    recipe = get_recipe("tiny")(ffn=ffn, vocab_size=len(tokenizer), **options)
    recipe.model.hidden_size, recipe.model.num_attention_heads = 32, 2
    return recipe


def losses(folder):
    return [row.loss for row in rows.read_rows(folder / "rows.jsonl", PretrainCurveRow)]


@pytest.mark.parametrize("multiple", [1, 4])
def test_batch_ramp_grows_to_its_size_within_the_budget(multiple):
    ramp = batch_ramp(10_000, 8, 64, 0.6, multiple)
    assert ramp.sum() <= 10_000 < ramp.sum() + 64
    assert (ramp % multiple == 0).all()
    assert (np.diff(ramp) >= 0).all()
    assert ramp[0] == 8
    assert (ramp[np.cumsum(ramp) > 6_100] == 64).all()


def test_batch_ramp_without_a_ramp_or_a_budget():
    assert batch_ramp(100, 1, 10, 0.0).tolist() == [10] * 10
    assert batch_ramp(0, 1, 10, 0.5).tolist() == []


def test_triangle_rises_to_the_peak_and_falls_to_zero():
    factor = triangle(np.full(100, 8), peak_fraction=0.25)
    values = [factor(step) for step in range(101)]
    assert np.argmax(values) in (24, 25)
    assert max(values) > 0.97
    assert values[0] < 0.05
    assert values[99] < 0.05
    assert values[100] == 0.0


def test_ramped_batches_read_every_position_once():
    ramp = batch_ramp(1000, 4, 32, 0.5, 4)
    batches = RampedBatches(ramp, 4)
    positions = [position for batch in batches for position in batch]
    assert positions == list(range(ramp.sum()))
    assert len(list(batches)) == len(batches)


@pytest.mark.parametrize("name", RECIPES)
def test_recipes_give_configurations(name):
    recipe = get_recipe(name)()
    assert recipe.model.ffn_type == "fff"
    assert get_recipe(name)(ffn="ff:48").model.intermediate_size == 48


def test_crammed_is_the_papers_model():
    model = get_recipe("crammed")().model
    assert (model.hidden_size, model.num_hidden_layers, model.ffn_name) == (768, 16, "1x11")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"budget_tokens": 0}, "budget_tokens=0"),
        ({"seed": -1}, "seed=-1"),
        ({"peak_fraction": 1.0}, "peak_fraction=1.0"),
        ({"ffn": "11"}, "ffn '11' is unknown"),
        ({"ffn": "ff:0"}, "needs a width"),
        ({"ffn": "1x40"}, "depth=40"),
    ],
)
def test_recipes_name_what_is_wrong(changes, message):
    with pytest.raises(ValueError, match=message):
        get_recipe("tiny")(**changes)
    with pytest.raises(ValueError, match="recipe 'huge' is unknown"):
        get_recipe("huge")


@pytest.mark.slow
def test_training_learns_and_leaves_a_model(tmp_path, packed, tokenizer):
    row = pretrain(config(tokenizer), *packed, tokenizer, tmp_path, "fff")
    curve = losses(tmp_path)
    assert curve[-1] < curve[0] - 1.0
    assert row.validation_loss < curve[0] - 1.0
    assert (row.ffn, row.n_active, row.n_neurons) == ("1x3x4", 7, 39)
    assert not (tmp_path / "checkpoints").exists()
    model = AutoModelForMaskedLM.from_pretrained(tmp_path)
    again = training.evaluate(model, packed[1], tokenizer, config(tokenizer))
    assert again["validation_loss"] == pytest.approx(row.validation_loss, rel=1e-5)
    longest = model.config.max_position_embeddings
    assert AutoTokenizer.from_pretrained(tmp_path).model_max_length == longest


def test_evaluation_decodes_masked_tokens_alone_to_the_models_loss(packed, tokenizer, monkeypatch):
    torch.manual_seed(0)
    recipe = config(tokenizer)
    model = UltraFastBertForMaskedLM(recipe.model).eval()
    share = recipe.mlm_probability
    stream = MaskedStream(packed[1], training.VALIDATION_SEED, len(packed[1]), tokenizer, share)
    batch = collate(stream.__getitems__(list(range(len(stream)))))
    with torch.no_grad():
        output = model(**batch)
    is_masked = batch["labels"] != -100
    right = (output.logits.argmax(-1) == batch["labels"])[is_masked].float().mean()
    decoded = []
    decode = model.decode
    monkeypatch.setattr(
        model, "decode", lambda states: decoded.append(len(states)) or decode(states)
    )
    row = training.evaluate(model, packed[1], tokenizer, recipe)
    assert row["validation_loss"] == pytest.approx(output.loss.item(), rel=1e-3)
    assert row["validation_accuracy"] == pytest.approx(right.item(), abs=0.01)
    assert sum(decoded) == is_masked.sum()


@pytest.mark.slow
def test_a_folder_with_a_run_is_not_overwritten(tmp_path, packed, tokenizer):
    recipe = config(tokenizer, budget_tokens=4_000)
    row = pretrain(recipe, *packed, tokenizer, tmp_path, "fff")
    with pytest.raises(FileExistsError, match="--resume"):
        pretrain(recipe, *packed, tokenizer, tmp_path, "fff")
    other = dataclasses.replace(recipe, learning_rate=1e-4)
    with pytest.raises(ValueError, match="differs in learning_rate"):
        pretrain(other, *packed, tokenizer, tmp_path, "fff", resume=True)
    finished = pretrain(recipe, *packed, tokenizer, tmp_path, "fff", resume=True)
    assert finished.validation_loss == row.validation_loss


def test_a_folder_of_something_else_is_not_touched(tmp_path, packed, tokenizer):
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(FileExistsError, match=r"holds config\.json of something else"):
        pretrain(config(tokenizer), *packed, tokenizer, tmp_path, "fff")
    assert [path.name for path in tmp_path.iterdir()] == ["config.json"]


class _StopAt(TrainerCallback):
    """Ends the run as an interruption would, some steps after a checkpoint."""

    def __init__(self, step):
        self.step = step

    def on_step_begin(self, args, state, control, **kwargs):
        if state.global_step == self.step:
            raise KeyboardInterrupt


@pytest.mark.slow
def test_resumed_run_equals_an_uninterrupted_one(tmp_path, packed, tokenizer, monkeypatch):
    monkeypatch.setattr(resumable, "SAVE_SECONDS", 0.0)
    recipe = config(tokenizer, batch_size=32, micro_batch_size=8)
    whole = pretrain(recipe, *packed, tokenizer, tmp_path / "whole", "fff")
    with pytest.raises(KeyboardInterrupt):
        pretrain(recipe, *packed, tokenizer, tmp_path / "cut", "fff", callbacks=[_StopAt(40)])
    last = last_checkpoint(tmp_path / "cut" / "checkpoints")
    assert last is not None
    # A checkpoint that was cut off while it was written is passed over.
    (tmp_path / "cut" / "checkpoints" / "checkpoint-99").mkdir()
    assert last_checkpoint(tmp_path / "cut" / "checkpoints") == last
    damaged = Path(last, "optimizer.pt")
    weights = damaged.read_bytes()
    damaged.write_bytes(weights[: len(weights) // 2])
    with pytest.raises(ValueError, match="is damaged"):
        pretrain(recipe, *packed, tokenizer, tmp_path / "cut", "fff", resume=True)
    damaged.write_bytes(weights)
    resumed = pretrain(recipe, *packed, tokenizer, tmp_path / "cut", "fff", resume=True)
    assert resumed.seconds > 0
    assert losses(tmp_path / "cut") == losses(tmp_path / "whole")
    assert resumed.validation_loss == whole.validation_loss


RUN = """
import json, sys
from ultrafastbert.data.packing import PackedRows
from ultrafastbert.data.tokenizer import load_tokenizer
from ultrafastbert.train import resumable
from ultrafastbert.train.pretrain import get_recipe, pretrain, training
resumable.SAVE_SECONDS = 0.0
folder, train, validation, threads, changes = sys.argv[1:]
training.torch.set_num_threads(int(threads))
tokenizer = load_tokenizer(folder + "/tokenizer")
recipe = get_recipe("tiny")(vocab_size=len(tokenizer), **json.loads(changes))
rows = PackedRows(train), PackedRows(validation)
pretrain(recipe, *rows, tokenizer, folder + "/run", "fff", resume=True)
"""


def run_arguments(tmp_path, packed, tokenizer, n_threads, **changes):
    tokenizer.save_pretrained(tmp_path / "tokenizer")
    (tmp_path / "run.py").write_text(RUN)
    rest = [*(str(part.path) for part in packed), str(n_threads), json.dumps(changes)]
    return [str(tmp_path / "run.py"), str(tmp_path), *rest]


@pytest.mark.slow
def test_two_processes_follow_the_curve_of_one(tmp_path, packed, tokenizer):
    size = {"budget_tokens": 20_000, "batch_size": 16, "bf16": False}
    arguments = run_arguments(tmp_path, packed, tokenizer, 1, micro_batch_size=16, **size)
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node=2"]
    done = subprocess.run([*torchrun, *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    one = get_recipe("tiny")(vocab_size=len(tokenizer), micro_batch_size=8, **size)
    pretrain(one, *packed, tokenizer, tmp_path / "one", "fff")
    np.testing.assert_allclose(losses(tmp_path / "run"), losses(tmp_path / "one"), rtol=1e-3)


@pytest.mark.slow
def test_run_that_was_killed_goes_on_as_if_nothing_had_happened(tmp_path, packed, tokenizer):
    size = {"budget_tokens": 60_000, "batch_size": 16}
    arguments = run_arguments(tmp_path, packed, tokenizer, torch.get_num_threads(), **size)
    process = subprocess.Popen([sys.executable, *arguments], stderr=subprocess.DEVNULL)
    checkpoints = tmp_path / "run" / "checkpoints"
    deadline = time.monotonic() + 120
    while len(list(checkpoints.glob(f"*/{COMPLETE}"))) < 2 and time.monotonic() < deadline:
        time.sleep(0.01)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    assert last_checkpoint(checkpoints) is not None
    recipe = get_recipe("tiny")(vocab_size=len(tokenizer), **size)
    pretrain(recipe, *packed, tokenizer, tmp_path / "run", "fff", resume=True)
    pretrain(recipe, *packed, tokenizer, tmp_path / "whole", "fff")
    assert losses(tmp_path / "run") == losses(tmp_path / "whole")


@pytest.mark.slow
def test_loss_that_is_not_a_number_ends_the_run(tmp_path, packed, tokenizer):
    with pytest.raises(FloatingPointError, match="not a number at step"):
        pretrain(config(tokenizer, learning_rate=1e30), *packed, tokenizer, tmp_path, "fff")


def test_budget_below_one_step(tmp_path, packed, tokenizer):
    with pytest.raises(ValueError, match="less than one step"):
        pretrain(config(tokenizer, budget_tokens=31), *packed, tokenizer, tmp_path, "fff")


@pytest.mark.slow
def test_every_kernel_follows_the_same_loss_curve(packed, tokenizer):
    curves = {name: short_curve(name, packed[0], tokenizer) for name in kernels()}
    reference = np.array(curves.pop("masked"))
    for name, curve in curves.items():
        np.testing.assert_allclose(curve, reference, rtol=2e-4, err_msg=name)


def kernels():
    return usable(3)


def short_curve(kernel, train_rows, tokenizer, n_steps=30):
    from ultrafastbert.data.masking import MaskedStream, collate

    torch.manual_seed(0)
    model = ultrafastbert.UltraFastBertForMaskedLM(config(tokenizer).model)
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-3)
    stream = MaskedStream(train_rows, 0, 16 * n_steps, tokenizer)
    curve = []
    with ultrafastbert.use_kernel(kernel):
        for step in range(n_steps):
            batch = collate([stream[16 * step + i] for i in range(16)])
            loss = model(**batch).loss
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            curve.append(loss.item())
    return curve
