"""End-to-end distillation: what is minimised, by which learning rates, on pairs and with heads."""

import itertools

import pytest
import torch
import transformers
from tiny_architectures import tiny_model
from transformers import AutoModelForSequenceClassification

from ultrafastbert.distill import end_to_end
from ultrafastbert.distill.teacher.distance import distance
from ultrafastbert.distill.teacher.targets import capture_targets
from ultrafastbert.models.converted.model import converted_copy

HEADS = {"roberta": "classifier.out_proj.weight", "electra": "classifier.out_proj.weight"}


HEADS |= dict.fromkeys(("bert", "distilbert", "modernbert"), "classifier.weight")


@pytest.mark.parametrize("model_type", ["bert", "roberta", "distilbert", "modernbert"])
def test_models_learn_from_pairs(model_type, texts, tokenizer, typed_tokenizer, tmp_path):
    pairs, model = [*itertools.pairwise(texts[:40]), *texts[:20]], tiny_model(model_type)
    has_types = model_type == "bert"
    each = typed_tokenizer if has_types else tokenizer
    made = capture_targets(model, each, pairs, 2000, tmp_path / "targets")
    assert ("token_type_ids" in made.inputs) == has_types
    assert distance(model, made)["fvu_states"] < 1e-3
    student = converted_copy(model, ["1x2x3", "none"])
    before = distance(student, made)["fvu_states"]
    config = end_to_end.EndToEndConfig(steps=20, batch_tokens=256)
    end_to_end.distill_end_to_end(student, made, config, tmp_path / "checkpoints")
    assert distance(student, made)["fvu_states"] < before


@pytest.mark.parametrize(
    ("layers", "size", "share"), [(2, 16, 1.0), (6, 384, 1.0), (12, 768, 0.25)]
)
def test_larger_models_learn_at_smaller_rates(layers, size, share):
    config = transformers.BertConfig(num_hidden_layers=layers, hidden_size=size)
    assert end_to_end.size_share(config) == share


def test_trees_dense_layers_and_old_weights_learn_at_their_rates(texts, tokenizer, tmp_path):
    original = tiny_model()
    made = capture_targets(original, tokenizer, texts, 500, tmp_path / "targets")
    student = converted_copy(original, ["1x2x3", "ff:4"])
    rates = {"fff_learning_rate": 1.0, "dense_learning_rate": 2.0, "learning_rate": 3.0}
    config = end_to_end.EndToEndConfig(**rates)
    trainer = end_to_end.EndToEndTrainer(student, made, config, tmp_path / "run", print)
    groups = trainer.create_optimizer().param_groups
    rate_of = {id(weight): group["lr"] for group in groups for weight in group["params"]}
    found = {name: rate_of[id(weight)] for name, weight in student.named_parameters()}
    first, second = (
        {rate for name, rate in found.items() if f"layer.{number}.intermediate" in name}
        for number in (0, 1)
    )
    assert (first, second) == ({1.0}, {2.0})
    assert {rate for name, rate in found.items() if ".intermediate" not in name} == {3.0}


@pytest.mark.parametrize("model_type", ["bert", "roberta", "distilbert", "electra", "modernbert"])
def test_a_classifier_keeps_what_it_says_of_texts(model_type, texts, tokenizer, tmp_path):
    original = tiny_model(model_type, AutoModelForSequenceClassification)
    made = capture_targets(original, tokenizer, texts, 2000, tmp_path / "targets")
    batch = made.batch([3, 1, 4], pad_token_id=0)
    inputs = {name: batch[name] for name in ("input_ids", "attention_mask")}
    torch.testing.assert_close(batch["logits"], original(**inputs).logits, atol=0.02, rtol=0.02)
    same = distance(original, made)
    assert same["fvu_logits"] < 0.05
    assert same["same_class"] > 0.9
    student = converted_copy(original, ["1x2x3", "none"])
    before = distance(student, made)
    config = end_to_end.EndToEndConfig(steps=30, batch_tokens=256)
    curve = end_to_end.distill_end_to_end(student, made, config, tmp_path / "run", held_out=made)
    assert list(curve) == list(range(0, 31, 3))
    after = distance(student, made)
    assert curve[30]["fvu_logits"] < curve[0]["fvu_logits"]
    assert after["fvu_logits"] < before["fvu_logits"]
    heads = [model.get_parameter(HEADS[model_type]) for model in (original, student)]
    assert not torch.equal(*heads)
