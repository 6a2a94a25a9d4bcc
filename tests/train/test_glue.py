"""Fine-tuning on GLUE: rows, resuming, progress and errors."""

import logging
import math
import random

import datasets
import pytest
import torch
from labelled_rows import COLORS, N_TRAIN, N_VALIDATION, QUICK, dataset
from safetensors.torch import load_file, save_file
from transformers import BertConfig, BertForMaskedLM

from ultrafastbert import UltraFastBertConfig, UltraFastBertForMaskedLM, rows
from ultrafastbert.rows.training import GlueRow
from ultrafastbert.train.finetune import (
    TASKS,
    GlueConfig,
    fine_tune,
    fine_tune_on,
    run_glue,
)


@pytest.mark.parametrize(
    "options",
    [
        {"epochs": 0},
        {"learning_rate": math.nan},
        {"batch_size": 0},
        {"warmup_ratio": 1.0},
        {"dropout": -0.1},
        {"weight_decay": -1.0},
        {"max_seq_length": 2},
        {"seeds": ()},
        {"max_train_rows": 0},
    ],
)
def test_wrong_configuration_is_refused(options):
    with pytest.raises(ValueError, match=next(iter(options))):
        GlueConfig(**options)


@pytest.mark.slow
def test_all_tasks_give_rows(model_dir, data_dir, tmp_path):
    threads = torch.get_num_threads()
    results = run_glue(model_dir, (), QUICK, data_dir, tmp_path / "rows.jsonl", model_name="tiny")
    assert torch.get_num_threads() == threads
    assert [row.task for row in results] == list(TASKS)
    assert rows.read_rows(tmp_path / "rows.jsonl", GlueRow) == results
    for row in results:
        spec = TASKS[row.task]
        assert row.model == "tiny"
        assert row.model_dir == model_dir.name
        assert row.metric == spec.metrics[0]
        assert row.value == row.metrics[row.metric]
        assert -100 <= row.value <= 100
        assert (row.n_train, row.n_validation) == (N_TRAIN, N_VALIDATION)
        assert (row.subset, row.seed, row.epochs) == (True, 0, 1)
        assert row.learning_rate == QUICK.learning_rate
        assert row.seconds > 0
        assert row.n_parameters > 1000
        assert row.train_tokens > 4 * N_TRAIN
    assert set(results[5].metrics) == {"accuracy", "accuracy_mismatched"}


@pytest.mark.slow
def test_finished_rows_are_kept_and_others_done(model_dir, data_dir, tmp_path):
    path = tmp_path / "rows.jsonl"
    first = run_glue(model_dir, ["rte"], QUICK, data_dir, path)
    two_seeds = GlueConfig(epochs=1, bf16=False, seeds=(0, 1))
    seen = []
    both = run_glue(model_dir, ["rte", "rte"], two_seeds, data_dir, path, on_row=seen.append)
    assert [row.seed for row in both] == [0, 1]
    assert both[0] == first[0]
    assert seen == both
    assert len(rows.read_rows(path)) == 2
    changed = GlueConfig(epochs=1, bf16=False, learning_rate=1e-3)
    run_glue(model_dir, ["rte"], changed, data_dir, path)
    assert len(rows.read_rows(path)) == 3


@pytest.mark.slow
def test_interruption_loses_only_the_task_at_hand(model_dir, data_dir, tmp_path):
    def interrupt(progress):
        if progress.task == "rte":
            raise KeyboardInterrupt

    path = tmp_path / "rows.jsonl"
    with pytest.raises(KeyboardInterrupt):
        run_glue(model_dir, ["wnli", "rte"], QUICK, data_dir, path, interrupt)
    assert [row.task for row in rows.read_rows(path)] == ["wnli"]


@pytest.mark.slow
def test_retrained_model_in_the_same_folder_is_another(model_dir, data_dir, tmp_path):
    folder, path = tmp_path / "model", tmp_path / "rows.jsonl"
    folder.mkdir()
    for file in model_dir.iterdir():
        (folder / file.name).write_bytes(file.read_bytes())
    digests = []
    for seed in (1, 2):
        config = UltraFastBertConfig.from_pretrained(folder)
        torch.manual_seed(seed)
        UltraFastBertForMaskedLM(config).save_pretrained(folder)
        digests += [row.model_digest for row in run_glue(folder, ["rte"], QUICK, data_dir, path)]
    assert len(set(digests)) == len(rows.read_rows(path)) == 2


@pytest.mark.slow
def test_same_seed_gives_the_same_numbers(model_dir, data_dir):
    losses: list[list[float]] = []
    for seed in (0, 0, 1):
        losses.append([])
        log = losses[-1].append
        fine_tune(model_dir, "stsb", seed, QUICK, data_dir, lambda p, log=log: log(p.loss))
    assert losses[0] == losses[1] != losses[2]


def test_progress_and_silence(model_dir, data_dir, capfd, caplog):
    reports = []
    with caplog.at_level(logging.WARNING):
        fine_tune(model_dir, "mrpc", 5, QUICK, data_dir, reports.append)
    last = reports[-1]
    assert (last.task, last.seed, last.step, last.n_steps) == ("mrpc", 5, 2, 2)
    assert last.seconds_left == 0
    assert math.isfinite(last.loss)
    stages = list(dict.fromkeys(report.stage for report in reports))
    assert stages == ["loading", "tokenizing", "training", "evaluating"]
    assert [report.note for report in reports if report.step == 0] == ["", ""]
    assert capfd.readouterr() == ("", "")
    assert not caplog.records


@pytest.mark.slow
def test_sample_of_rows_and_dropout(model_dir, data_dir):
    config = GlueConfig(epochs=2, bf16=False, max_train_rows=7, batch_size=4, max_seq_length=8)
    row = fine_tune(model_dir, "qqp", 0, config, data_dir)
    assert (row.n_train, row.max_train_rows, row.subset) == (7, 7, True)
    assert 0 < row.train_tokens <= 2 * 7 * 8


@pytest.mark.slow
def test_own_task_is_learnt(model_dir):
    words = {"red": "tree", "green": "leaf", "blue": "node"}
    generator = random.Random(0)
    labels = [generator.randrange(3) for _ in range(240)]
    texts = [f"the {list(words.values())[label]} is fast" for label in labels]
    data = datasets.Dataset.from_dict({"sentence": texts, "label": labels})
    config = GlueConfig(epochs=6, learning_rate=5e-3, bf16=False, dropout=0.0)
    row = fine_tune_on(
        model_dir, COLORS, data.select(range(200)), data.select(range(200, 240)), 0, config
    )
    assert row.value > 95
    assert (row.task, row.subset) == ("colors", False)


@pytest.mark.slow
def test_any_encoder_can_be_fine_tuned(tmp_path, tokenizer):
    config = BertConfig(
        vocab_size=len(tokenizer),
        hidden_size=32,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=32,
        max_position_embeddings=16,  # shorter than some rows
    )
    BertForMaskedLM(config).save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    spec = TASKS["mrpc"]
    row = fine_tune_on(tmp_path, spec, dataset(spec), dataset(spec, 9), config=QUICK)
    assert row.n_train == N_TRAIN


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(torch.cpu, "_is_avx512_bf16_supported"), reason="no check")
def test_bf16_trains(model_dir, data_dir):
    row = fine_tune(model_dir, "stsb", 0, GlueConfig(epochs=1, bf16=True), data_dir)
    assert row.bf16 is True
    assert math.isfinite(row.value)


@pytest.mark.slow
def test_loss_that_is_no_number_is_an_error(model_dir, data_dir, tmp_path):
    for file in model_dir.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    weights = load_file(tmp_path / "model.safetensors")
    # Finite, or the model would not be loaded; their sums are not.
    next(v for name, v in weights.items() if name.endswith("w_out")).fill_(3e38)
    save_file(weights, tmp_path / "model.safetensors", {"format": "pt"})
    with pytest.raises(FloatingPointError, match=r"task rte \(seed 3\) is not a number at step"):
        fine_tune(tmp_path, "rte", 3, QUICK, data_dir)


def test_missing_model_is_an_error(tmp_path, data_dir):
    with pytest.raises(FileNotFoundError, match=r"no model in .*: it has no config\.json"):
        run_glue(tmp_path / "nothing", ["rte"], QUICK, data_dir)
