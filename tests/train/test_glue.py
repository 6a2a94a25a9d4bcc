"""GLUE: the task table, metrics, data checks, fine-tuning, resuming and progress."""

import gzip
import json
import logging
import math
import os
import random
from pathlib import Path

import datasets
import numpy as np
import pytest
import torch
from conftest import sentence
from safetensors.torch import load_file, save_file
from transformers import BertConfig, BertForMaskedLM

from ultrafastbert import UltraFastBertConfig, UltraFastBertForMaskedLM, rows
from ultrafastbert.rows.training import GlueRow
from ultrafastbert.train.finetune import (
    TASKS,
    GlueConfig,
    TaskSpec,
    fine_tune,
    fine_tune_on,
    get_task,
    load_task,
    run_glue,
    score,
)
from ultrafastbert.train.finetune.encoding import EncodedRows, LengthGroupedBatches

QUICK = GlueConfig(epochs=1, bf16=False)
N_TRAIN, N_VALIDATION = 24, 12


def examples(spec, n, seed=0):
    generator = random.Random(seed)
    for index in range(n):
        row = {name: sentence(generator) for name in spec.text_columns}
        if index == 3:
            row = dict.fromkeys(row, "")
        classes = len(spec.label_names)
        yield {**row, "label": index % classes if classes else index % 6 * 0.9, "idx": index}


def write(path, lines):
    path.parent.mkdir(parents=True, exist_ok=True)
    text = "".join(line if isinstance(line, str) else json.dumps(line) + "\n" for line in lines)
    opener = gzip.open if path.suffix == ".gz" else open
    with opener(path, "wt", encoding="utf-8") as file:
        file.write(text)


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory):
    """All nine tasks, one split plain and the others zipped."""
    folder = tmp_path_factory.mktemp("glue")
    for name, spec in TASKS.items():
        for split in spec.n_rows:
            suffix = ".jsonl" if name == "rte" else ".jsonl.gz"
            n = N_TRAIN if split == "train" else N_VALIDATION
            write(folder / name / (split + suffix), examples(spec, n))
    return folder


@pytest.fixture(scope="module")
def model_dir(tmp_path_factory, tokenizer):
    folder = tmp_path_factory.mktemp("tiny-model")
    config = UltraFastBertConfig(
        vocab_size=len(tokenizer),
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        tree_depth=3,
        classifier_hidden_size=16,
        hidden_dropout_prob=0.0,
        attention_probs_dropout_prob=0.0,
    )
    torch.manual_seed(0)
    UltraFastBertForMaskedLM(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def dataset(spec, n=N_TRAIN, **columns):
    listed = {name: [row[name] for row in examples(spec, n)] for name in next(examples(spec, 1))}
    return datasets.Dataset.from_dict({**listed, **columns})


COLORS = TaskSpec("colors", label_names=("red", "green", "blue"))


def test_table_is_the_benchmark():
    assert sorted(TASKS) == ["cola", "mnli", "mrpc", "qnli", "qqp", "rte", "sst2", "stsb", "wnli"]
    primary = {name: spec.metrics[0] for name, spec in TASKS.items()}
    assert primary["cola"] == "matthews"
    assert primary["stsb"] == "spearman"
    assert primary["mrpc"] == primary["qqp"] == "f1"
    assert {primary[name] for name in ("sst2", "mnli", "qnli", "rte", "wnli")} == {"accuracy"}
    assert {spec.epochs for name, spec in TASKS.items() if name != "cola"} == {5}
    assert TASKS["cola"].epochs == 15
    with pytest.raises(ValueError, match="task 'squad' is unknown; choose from cola"):
        get_task("squad")


def test_metrics_match_hand_counts():
    labels = np.array([1, 1, 1, 0, 0])
    logits = np.array([[0, 1], [0, 1], [1, 0], [0, 1], [1, 0]])  # 2 hits, 1 miss, 1 false alarm
    assert score(TASKS["mrpc"], logits, labels) == pytest.approx({"f1": 400 / 6, "accuracy": 60})
    assert score(TASKS["cola"], logits, labels)["matthews"] == pytest.approx(100 / 6)
    values = score(TASKS["stsb"], np.array([[1.0], [2.0], [9.0]]), np.array([0.0, 1.0, 2.0]))
    assert values["spearman"] == pytest.approx(100)
    assert values["pearson"] == pytest.approx(100 * math.sqrt(48 / 57))


@pytest.mark.parametrize("name", ["cola", "mrpc", "stsb"])
def test_constant_predictions_score_without_warnings(name):
    width = max(1, len(TASKS[name].label_names))
    logits = np.zeros((4, width)) + np.eye(1, width)
    scores = score(TASKS[name], logits, np.array([0.0, 1.0, 1.0, 0.0]))
    assert scores[TASKS[name].metrics[0]] == 0


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"text_columns": ()}, "text_columns"),
        ({"label_names": ("one",)}, "label_names"),
        ({"label_names": ("a", "b"), "metrics": ("pearson",)}, "'pearson' must be one of accuracy"),
        ({"label_names": ("a", "b", "c"), "metrics": ("f1",)}, "two classes, not 3"),
        ({"label_names": ("a", "b"), "metrics": ()}, "at least one metric"),
    ],
)
def test_wrong_task_is_refused(options, message):
    with pytest.raises(ValueError, match=message):
        TaskSpec("wrong", **options)


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
    assert set(results[5]["metrics"]) == {"accuracy", "accuracy_mismatched"}


def test_optional_split_may_be_missing(data_dir, tmp_path):
    for split in ("train", "validation_matched"):
        name = f"{split}.jsonl.gz"
        (tmp_path / "mnli").mkdir(exist_ok=True)
        (tmp_path / "mnli" / name).write_bytes((data_dir / "mnli" / name).read_bytes())
    assert list(load_task(TASKS["mnli"], tmp_path)) == ["train", "validation_matched"]


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


def test_interruption_loses_only_the_task_at_hand(model_dir, data_dir, tmp_path):
    def interrupt(progress):
        if progress.task == "rte":
            raise KeyboardInterrupt

    path = tmp_path / "rows.jsonl"
    with pytest.raises(KeyboardInterrupt):
        run_glue(model_dir, ["wnli", "rte"], QUICK, data_dir, path, interrupt)
    assert [row.task for row in rows.read_rows(path)] == ["wnli"]


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


def test_sample_of_rows_and_dropout(model_dir, data_dir):
    config = GlueConfig(epochs=2, bf16=False, max_train_rows=7, batch_size=4, max_seq_length=8)
    row = fine_tune(model_dir, "qqp", 0, config, data_dir)
    assert (row.n_train, row.max_train_rows, row.subset) == (7, 7, True)
    assert 0 < row.train_tokens <= 2 * 7 * 8


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


@pytest.mark.skipif(not hasattr(torch.cpu, "_is_avx512_bf16_supported"), reason="no check")
def test_bf16_trains(model_dir, data_dir):
    row = fine_tune(model_dir, "stsb", 0, GlueConfig(epochs=1, bf16=True), data_dir)
    assert row.bf16 is True
    assert math.isfinite(row.value)


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


GOOD = {"sentence": "a b", "label": 1}


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ([], "train.jsonl has no rows"),
        ([GOOD, "{broken\n"], "line 2 is not JSON: .* in '{broken'"),
        ([GOOD, [1]], r"line 2: \[1\] is not a JSON object"),
        ([{"text": "a", "label": 1}], "line 1 has no column 'sentence'; task sst2 needs sentence"),
        ([{"sentence": "a"}], "line 1 has no column 'label'"),
        ([GOOD, {"sentence": None, "label": 0}], "line 2: sentence must be a string, got None"),
        ([{"sentence": "a", "label": "1"}], "line 1: label must be one of 0 .*, got '1'"),
        ([{"sentence": "a", "label": 2}], r"label must be one of 0 \(negative\), .*, got 2"),
        ([{"sentence": "a", "label": -1}], "got -1"),
        ([{"sentence": "a", "label": True}], "got True"),
        ([{"sentence": "a", "label": 0.5}], "got 0.5"),
        ([{"sentence": "a", "label": [0]}], r"got \[0\]"),
    ],
)
def test_wrong_rows_are_named(tmp_path, lines, message):
    write(tmp_path / "sst2" / "train.jsonl", lines)
    write(tmp_path / "sst2" / "validation.jsonl", [GOOD])
    with pytest.raises(ValueError, match=message) as error:
        load_task(TASKS["sst2"], tmp_path)
    assert str(tmp_path / "sst2" / "train.jsonl") in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("label", ["nan", "1.0", None, math.nan, math.inf])
def test_wrong_numbers_are_named(tmp_path, label):
    row = {"sentence1": "a", "sentence2": "b", "label": 1}
    write(tmp_path / "stsb" / "train.jsonl", [row, {**row, "label": label}])
    write(tmp_path / "stsb" / "validation.jsonl", [row])
    with pytest.raises(ValueError, match="line 2: label must be a finite number"):
        load_task(TASKS["stsb"], tmp_path)


def test_broken_files_are_named(tmp_path):
    path = tmp_path / "sst2" / "train.jsonl.gz"
    write(tmp_path / "sst2" / "validation.jsonl", [GOOD])
    write(path, [GOOD] * 100)
    path.write_bytes(path.read_bytes()[:40])
    with pytest.raises(ValueError, match=r"broken gzip file .*train\.jsonl\.gz"):
        load_task(TASKS["sst2"], tmp_path)
    path.unlink()
    path.with_suffix("").write_bytes(b'{"sentence": "\xff"}\n')
    with pytest.raises(ValueError, match=r"train.jsonl, line 1 is not UTF-8"):
        load_task(TASKS["sst2"], tmp_path)


def test_data_is_checked_before_any_training(model_dir, data_dir, tmp_path):
    write(tmp_path / "rte" / "train.jsonl", examples(TASKS["rte"], 4))
    write(tmp_path / "rte" / "validation.jsonl", examples(TASKS["rte"], 4))
    reports = []
    with pytest.raises(ValueError, match="has no folder wnli"):
        run_glue(model_dir, ["rte", "wnli"], QUICK, tmp_path, None, reports.append)
    (tmp_path / "wnli").mkdir()
    with pytest.raises(ValueError, match=r"wnli has no file train.jsonl.gz or train.jsonl"):
        run_glue(model_dir, ["rte", "wnli"], QUICK, tmp_path, None, reports.append)
    with pytest.raises(ValueError, match="task 'nli' is unknown"):
        run_glue(model_dir, ["rte", "nli"], QUICK, tmp_path, None, reports.append)
    assert not reports


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        (
            {"label": ["red"] * N_TRAIN},
            "colors train, row 0: label must be one of 0 .red., .*'red'",
        ),
        ({"label": [3] * N_TRAIN}, "row 0: label .* got 3"),
        ({"sentence": [None] * N_TRAIN}, "row 0: sentence must be a string, got None"),
    ],
)
def test_wrong_own_data_is_named(model_dir, columns, message):
    with pytest.raises(ValueError, match=message):
        fine_tune_on(model_dir, COLORS, dataset(COLORS, **columns), dataset(COLORS))


def test_own_data_without_column_or_rows(model_dir):
    good = dataset(COLORS)
    with pytest.raises(ValueError, match="colors train has no column 'sentence'"):
        fine_tune_on(model_dir, COLORS, good.remove_columns("sentence"), good)
    with pytest.raises(ValueError, match="colors validation has no rows"):
        fine_tune_on(model_dir, COLORS, good, good.select([]))


def test_hub_out_of_reach_is_one_line(monkeypatch):
    def refuse(*args, **kwargs):
        raise ConnectionError("Couldn't reach the Hub\nand so on")

    monkeypatch.setattr(datasets, "load_dataset", refuse)
    with pytest.raises(OSError, match=r"task rte \(train\) from the hub: .*--data-dir") as error:
        load_task(TASKS["rte"])
    assert "\n" not in str(error.value)


def test_batches_hold_each_row_once_with_little_padding(tokenizer):
    lengths = np.random.default_rng(0).integers(3, 60, size=501)
    batches = LengthGroupedBatches(lengths, 16, seed=0)
    first, second = list(batches), list(batches)
    assert len(first) == len(batches) == 32
    assert sorted(index for batch in first for index in batch) == list(range(501))
    assert first != second
    padded = sum(lengths[batch].max() * len(batch) for batch in first)
    assert padded < 1.1 * lengths.sum()


def test_encoded_rows_are_what_the_tokenizer_pads(tokenizer):
    spec = TASKS["mrpc"]
    data = dataset(spec)
    encoded = EncodedRows(data, spec, tokenizer, max_length=12)
    chosen = [3, 7, 0]
    texts = [[data[i][name] for i in chosen] for name in spec.text_columns]
    expected = tokenizer(*texts, truncation=True, max_length=12, padding=True, return_tensors="pt")
    batch = encoded.__getitems__(chosen)
    assert batch.keys() == {*expected, "labels"}
    for name, tensor in expected.items():
        assert torch.equal(batch[name], tensor), name
    assert batch["labels"].tolist() == [i % 2 for i in chosen]
    assert encoded.n_tokens == encoded.lengths.sum()


REAL_DATA = os.environ.get("ULTRAFASTBERT_TEST_DATA")


@pytest.mark.skipif(not REAL_DATA, reason="ULTRAFASTBERT_TEST_DATA names no folder")
@pytest.mark.parametrize("name", TASKS)
def test_real_data_fits_the_table(name):
    splits = load_task(TASKS[name], Path(REAL_DATA) / "glue")
    for split, data in splits.items():
        official = TASKS[name].n_rows[split]
        is_subset = name in ("mnli", "qnli", "qqp") and split == "train"
        is_subset |= (name, split) == ("qqp", "validation")
        assert (len(data) < official) if is_subset else (len(data) == official)
