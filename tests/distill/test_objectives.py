"""Objectives of end-to-end distillation: zero for the original's outputs."""

import torch
from tiny_architectures import tiny_model

from ultrafastbert.distill.objectives import OBJECTIVES, objectives_for
from ultrafastbert.distill.teacher.outputs import Outputs
from ultrafastbert.distill.teacher.targets import capture_targets


def test_all_objectives_of_a_teacher_are_zero_for_its_own_outputs(texts, tokenizer, tmp_path):
    model = tiny_model()
    targets = capture_targets(model, tokenizer, texts, 500, tmp_path / "targets")
    found = objectives_for(targets)
    assert [type(each) for each in found] == list(OBJECTIVES[:1])
    batch = targets.batch([0, 1, 2, 3], 0)
    inputs = {name: batch[name] for name in ("input_ids", "attention_mask")}
    with torch.no_grad():
        body = model(**inputs, output_hidden_states=True)
    for objective in found:
        assert objective.loss(Outputs(body, None), batch) < 1e-2
