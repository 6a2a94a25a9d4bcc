"""Initial weights: shared modules start alike, and all models of a seed compute the same."""

import pytest
import torch

from ultrafastbert.models import UltraFastBertForMaskedLM
from ultrafastbert.train.pretrain.initial_weights import draw_initial_weights
from ultrafastbert.train.pretrain.recipes import get_recipe

FFNS = ["1x3x4", "2x2+5", "ff:31", "glu:32", "none"]


def started(ffn, seed=0, used_before=0):
    torch.manual_seed(used_before)
    model = UltraFastBertForMaskedLM(get_recipe("tiny")(ffn=ffn, vocab_size=200).model)
    draw_initial_weights(model, seed)
    return model.eval()


@pytest.mark.parametrize("ffn", FFNS)
def test_models_share_what_they_have_in_common(ffn):
    reference = dict(started("none").named_parameters())
    weights = dict(started(ffn, used_before=1).named_parameters())
    for name, weight in reference.items():
        assert torch.equal(weights[name], weight), name
    ids = torch.arange(5, 25).view(2, 10)
    logits = [model(ids).logits for model in (started(ffn), started("none"))]
    torch.testing.assert_close(*logits, rtol=0, atol=0)


def test_seeds_layers_and_weights_differ():
    first, second = dict(started("1x3x4").named_parameters()), started("1x3x4", seed=1)
    for name, weight in second.named_parameters():
        if weight.std() > 0:
            assert not torch.equal(first[name], weight), name
    matrices = [weight for name, weight in first.items() if name.endswith("attention.qkv.weight")]
    assert not torch.equal(*matrices)
    inner = [weight for name, weight in first.items() if name.endswith("w_in")]
    assert not torch.equal(*inner)


def test_the_global_generator_is_left_alone():
    model = started("none")
    torch.manual_seed(3)
    expected = torch.rand(2)
    torch.manual_seed(3)
    draw_initial_weights(model, 0)
    assert torch.equal(torch.rand(2), expected)
