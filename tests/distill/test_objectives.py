"""Objectives of end-to-end distillation: zero for the original's outputs, and what they ignore."""

from types import SimpleNamespace

import pytest
import torch
from tiny_architectures import tiny_model

from ultrafastbert.distill.objectives import OBJECTIVES, objectives_for
from ultrafastbert.distill.objectives.similarities import Similarities
from ultrafastbert.distill.teacher.outputs import Outputs
from ultrafastbert.distill.teacher.targets import capture_targets


def output_of(states):
    return Outputs(SimpleNamespace(last_hidden_state=states), None)


@pytest.fixture
def batch():
    torch.manual_seed(0)
    states = torch.randn(5, 4, 2, 8)  # (B, S, N, H)
    mask = torch.ones(5, 4, dtype=torch.int64)
    mask[2, 2:] = 0
    return {"targets": states, "attention_mask": mask}


def test_similarities_are_those_of_all_pairs_of_texts(batch):
    loss, states = Similarities(None).loss, batch["targets"][:, :, -1]
    assert loss(output_of(states), batch) < 1e-9
    turn = torch.linalg.qr(torch.randn(8, 8)).Q  # one turn of all vectors ranks as before
    assert loss(output_of(states @ turn), batch) < 1e-9
    vectors = [
        (each * kept[:, None]).sum(0) / kept.sum()
        for each, kept in zip(states, batch["attention_mask"], strict=True)
    ]
    cosine = torch.nn.functional.cosine_similarity
    wanted = torch.stack([cosine(vectors[i], vectors[j], 0) for i in range(5) for j in range(i)])
    found = torch.zeros(10)  # of orthogonal vectors
    orthogonal = torch.eye(8)[:5, None].expand(5, 4, 8)
    expected = (found - wanted).square().mean() / wanted.var(correction=0)
    torch.testing.assert_close(loss(output_of(orthogonal), batch), expected)


def test_one_or_two_texts_have_no_similarities_to_learn(batch):
    few = {name: values[:2] for name, values in batch.items()}
    assert Similarities(None).loss(output_of(torch.zeros(2, 4, 8)), few) == 0.0


def test_all_objectives_of_a_teacher_are_zero_for_its_own_outputs(texts, tokenizer, tmp_path):
    model = tiny_model()
    targets = capture_targets(model, tokenizer, texts, 500, tmp_path / "targets")
    found = objectives_for(targets)
    assert [type(each) for each in found] == list(OBJECTIVES[:2])
    batch = targets.batch([0, 1, 2, 3], 0)
    inputs = {name: batch[name] for name in ("input_ids", "attention_mask")}
    with torch.no_grad():
        body = model(**inputs, output_hidden_states=True)
    for objective in found:
        assert objective.loss(Outputs(body, None), batch) < 1e-2
