"""Labelled rows of tasks: what is read, and what is refused."""

import math
import os
from pathlib import Path

import datasets
import pytest
from labelled_rows import COLORS, N_TRAIN, QUICK, dataset, examples, write

from ultrafastbert.train.finetune import (
    TASKS,
    fine_tune_on,
    load_task,
    run_glue,
)

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


def test_optional_split_may_be_missing(data_dir, tmp_path):
    for split in ("train", "validation_matched"):
        name = f"{split}.jsonl.gz"
        (tmp_path / "mnli").mkdir(exist_ok=True)
        (tmp_path / "mnli" / name).write_bytes((data_dir / "mnli" / name).read_bytes())
    assert list(load_task(TASKS["mnli"], tmp_path)) == ["train", "validation_matched"]


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
