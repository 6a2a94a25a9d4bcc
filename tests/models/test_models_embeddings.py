"""The word embedding of every model class: given, replaced, resized."""

import pytest
import torch
from tiny_models import (
    BIASES,
    build,
    every_class,
    inputs,
    same,
)

from ultrafastbert import UltraFastBertForMaskedLM


@every_class
@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("size", [70, 50])
def test_resize_token_embeddings(tmp_path, model_class, tied, size):
    model = build(model_class, tie_word_embeddings=tied, **BIASES)
    given = inputs(model_class)
    given["input_ids"] = given["input_ids"] % min(size, 61)
    with torch.no_grad():
        before = model(**given)
    model.resize_token_embeddings(size, mean_resizing=False)
    assert model.config.vocab_size == model.get_input_embeddings().num_embeddings == size
    after = model(**given)
    if model_class is UltraFastBertForMaskedLM:
        assert model.decoder.out_features == after.logits.shape[-1] == size
        assert (model.decoder.weight is model.get_input_embeddings().weight) == tied
        before["logits"], known = before.logits[..., :size], after.logits[..., :61]
        torch.testing.assert_close(known, before.logits)
        model(**given, labels=given["input_ids"]).loss.backward()
    else:
        same(after, before)
    model.save_pretrained(tmp_path)
    loaded = model_class.from_pretrained(tmp_path).eval()
    assert loaded.config.vocab_size == size
    same(loaded(**given), after)


def test_resize_to_a_multiple():
    model = build(UltraFastBertForMaskedLM)
    assert model.resize_token_embeddings(61, pad_to_multiple_of=16).num_embeddings == 64
    assert model.decoder.weight.shape == (64, 32)


@every_class
def test_inputs_embeds(model_class):
    model, given = build(model_class), inputs(model_class)
    expected = model(**given)
    embeds = model.get_input_embeddings()(given.pop("input_ids"))
    same(model(inputs_embeds=embeds, **given), expected)


@every_class
def test_input_embeddings_can_be_replaced(model_class):
    model = build(model_class)
    new = torch.nn.Embedding(61, 32)
    model.set_input_embeddings(new)
    assert model.get_input_embeddings() is new
    output = model.get_output_embeddings()
    assert (output is not None) == (model_class is UltraFastBertForMaskedLM)
