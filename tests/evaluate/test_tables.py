"""The tables of metrics and of sentence pair tasks: what fits what."""

import pytest
import torch
from encoders import write_stsb

from ultrafastbert.evaluate.metrics import METRICS, Comparison, Needs, compare
from ultrafastbert.evaluate.pair_tasks import PAIR_TASKS
from ultrafastbert.evaluate.similarity import load_evaluations
from ultrafastbert.evaluate.tasks import TASKS, TaskSpec


def test_sentence_pairs_are_scored_by_the_first_metric_of_their_task():
    assert [(task.spec.name, task.metric) for task in PAIR_TASKS] == [("stsb", "spearman")]


def test_metrics_that_compare_with_the_original_take_what_is_there():
    logits = torch.tensor([[1.0, 0.0], [0.0, 1.0]])
    assert compare(Comparison(0.5, 2.0)) == {"fvu_states": 0.25}
    same = compare(Comparison(0.0, 1.0, logits, logits))
    assert same == {"fvu_states": 0.0, "fvu_logits": 0.0, "same_class": 1.0}
    assert "same_class" not in compare(Comparison(0.0, 1.0, logits[:, :1], logits[:, :1]))
    assert compare(Comparison(0.0, 1.0, logits.flip(1), logits))["same_class"] == 0.0


@pytest.mark.parametrize("name", [n for n, m in METRICS.items() if m.needs is Needs.STATES])
def test_tasks_take_no_metric_that_needs_the_original(name):
    with pytest.raises(ValueError, match=f"metric {name!r} must be one of pearson, spearman here"):
        TaskSpec("mine", metrics=(name,))


def test_evaluations_are_those_that_a_folder_has(documents, tmp_path):
    sentences = [line for document in documents for line in document.split(". ")]
    (found,) = load_evaluations(write_stsb(tmp_path / "glue", sentences))
    assert (found.name, len(found.pairs)) == ("stsb validation", 20)
    assert load_evaluations(None) == []
    (tmp_path / "other").mkdir()
    with pytest.raises(ValueError, match="has no folder stsb"):
        load_evaluations(tmp_path / "other")
    assert all(task.title for task in TASKS.values())
