"""Targets: the original's outputs on texts and pairs, kept on disk."""

import itertools

import pytest
import torch
from tiny_architectures import tiny_model
from transformers import AutoModelForSequenceClassification

from ultrafastbert.distill.teacher.distance import distance
from ultrafastbert.distill.teacher.targets import capture_targets, disk_bytes, layers_learned


def test_targets_are_what_the_model_makes_of_texts(texts, tokenizer, tmp_path):
    model = tiny_model()
    made = capture_targets(model, tokenizer, texts, 500, tmp_path / "targets", max_length=20)
    assert 400 < made.starts[-1] <= 500
    batches = made.batches(7, 64, seed=0)
    assert len(batches) == 7
    seen = made.batches(1000, 64, seed=0)
    assert set(itertools.chain(*seen)) == set(range(len(made.starts) - 1))
    for texts_of_batch in batches:
        batch = made.batch(texts_of_batch, pad_token_id=0)
        assert batch["input_ids"].numel() <= 64
        keep = batch["attention_mask"].bool()
        hidden = model(
            batch["input_ids"], batch["attention_mask"], output_hidden_states=True
        ).hidden_states
        expected = torch.stack([hidden[layer] for layer in made.layers], 2)[keep]
        torch.testing.assert_close(batch["targets"][keep], expected, atol=0.05, rtol=0.05)
    with pytest.raises(ValueError, match="no text has 2 tokens or fewer"):
        capture_targets(model, tokenizer, texts, 2, tmp_path / "few")


def test_targets_of_pairs_are_those_of_the_encoded_pair(typed_tokenizer, tmp_path):
    model, pair = tiny_model(), ("a leaf finds the node.", "The small tree skips the path.")
    made = capture_targets(model, typed_tokenizer, [pair], 50, tmp_path)
    encoded = typed_tokenizer(*pair, return_tensors="pt")
    batch = made.batch([0], pad_token_id=0)
    targets = batch.pop("targets")
    assert batch["token_type_ids"].unique().tolist() == [0, 1]
    assert batch.keys() == encoded.keys()
    assert all(torch.equal(batch[name], encoded[name]) for name in batch)
    expected = model(**encoded).last_hidden_state
    torch.testing.assert_close(targets[:, :, -1], expected, atol=0.02, rtol=0.02)
    without_types = model(encoded["input_ids"]).last_hidden_state
    assert (targets[:, :, -1] - without_types).abs().max() > 0.05


def test_targets_take_the_disk_that_was_said(texts, tokenizer, typed_tokenizer, tmp_path):
    for each, bytes_ in ((tokenizer, 4), (typed_tokenizer, 5)):
        folder = tmp_path / str(bytes_)
        capture_targets(tiny_model(), each, texts, 500, folder)
        size = sum(
            path.stat().st_size for path in folder.iterdir() if path.suffix != ".safetensors"
        )
        assert size == disk_bytes(500, 16, 2, each) == 500 * (2 * 2 * 16 + bytes_)


def test_targets_without_all_inputs_are_made_anew(texts, tokenizer, typed_tokenizer, tmp_path):
    pairs = list(itertools.pairwise(texts))
    capture_targets(tiny_model(), tokenizer, texts, 500, tmp_path)
    made = capture_targets(tiny_model(), typed_tokenizer, pairs, 500, tmp_path)
    assert made.inputs["token_type_ids"].any()
    again = capture_targets(tiny_model(), typed_tokenizer, [], 500, tmp_path)
    assert all(torch.equal(again.inputs[name], made.inputs[name]) for name in made.inputs)


def test_less_text_than_wanted_is_measured_as_it_is(texts, tokenizer, tmp_path):
    model = tiny_model()
    made = capture_targets(model, tokenizer, texts[:20], 5000, tmp_path)
    assert len(made.inputs["input_ids"]) == len(made.states) == made.starts[-1] < 500
    variance = made.states_variance
    torch.testing.assert_close(variance, made.states.float().var(0).mean(1))
    assert distance(model, made)["fvu_states"] < 1e-3


def test_layers_learned_end_with_the_last():
    assert [layers_learned(n) for n in (1, 2, 6, 12)] == [[1], [1, 2], [2, 4, 6], [4, 8, 12]]


def test_targets_of_a_headless_model_are_not_enough_for_a_head(texts, tokenizer, tmp_path):
    model = tiny_model(auto_class=AutoModelForSequenceClassification)
    assert capture_targets(model.base_model, tokenizer, texts, 500, tmp_path).logits is None
    made = capture_targets(model, tokenizer, texts, 500, tmp_path)
    assert made.logits.shape == (len(made.starts) - 1, 2)
