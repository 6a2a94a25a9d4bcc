"""The tables of metrics and of sentence pair tasks: row fields, titles, what fits what."""

import pytest
import torch
from encoders import write_stsb

from ultrafastbert.evaluate.metrics import METRICS, Comparison, Needs, compare
from ultrafastbert.evaluate.pair_tasks import PAIR_TASKS, score_titles
from ultrafastbert.evaluate.similarity import load_evaluations
from ultrafastbert.evaluate.tasks import TASKS, TaskSpec


def test_row_fields_and_titles_of_scores_stay():
    assert score_titles() == {
        "stsb_validation_spearman": "STS-B validation (Spearman, %)",
        "stsb_test_spearman": "STS-B test (Spearman, %)",
    }
    assert list(score_titles("validation")) == ["stsb_validation_spearman"]
    assert PAIR_TASKS[0].field("test", "before") == "stsb_test_before_spearman"


def test_metrics_that_compare_with_the_original_take_what_is_there():
    logits = torch.tensor([[1.0, 0.0], [0.0, 1.0]])
    assert compare(Comparison(0.5, 2.0)) == {"unexplained_states": 0.25}
    same = compare(Comparison(0.0, 1.0, logits, logits))
    assert same == {"unexplained_states": 0.0, "unexplained_logits": 0.0, "same_class": 1.0}
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
