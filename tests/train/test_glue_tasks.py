"""The table of tasks and its metrics."""

import math

import numpy as np
import pytest

from ultrafastbert.train.finetune import (
    TASKS,
    TaskSpec,
    get_task,
    score,
)


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
