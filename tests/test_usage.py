"""Counters of leaves: every token once, whatever computes it again and whatever the precision."""

import pytest
import torch
from torch.utils.checkpoint import checkpoint

from ultrafastbert import (
    FastFeedForward,
    UltraFastBertConfig,
    UltraFastBertForMaskedLM,
    hardening_loss,
)

N_TOKENS = 100


class Stack(torch.nn.Module):
    """Three layers, each checkpointed."""

    def __init__(self, use_reentrant, **options):
        super().__init__()
        torch.manual_seed(0)
        layers = (FastFeedForward(6, depth=2, leaf_size=2, **options) for _ in range(3))
        self.layers, self.use_reentrant = torch.nn.ModuleList(layers), use_reentrant

    def forward(self, x):
        for layer in self.layers:
            x = x + checkpoint(layer, x, use_reentrant=self.use_reentrant)
        return x

    def counts(self):
        return [round(layer.leaf_usage.sum().item()) for layer in self.layers]


@pytest.mark.parametrize("usage_mode", ["hard", "soft"])
@pytest.mark.parametrize("soft_training", [True, False])
@pytest.mark.parametrize("use_reentrant", [True, False])
def test_checkpointing_counts_once(use_reentrant, soft_training, usage_mode):
    stack = Stack(use_reentrant, usage_mode=usage_mode, soft_training=soft_training)
    x = torch.randn(N_TOKENS, 6, requires_grad=True)
    for n_calls in (1, 2):
        stack(x).sum().backward()
        assert stack.counts() == [n_calls * N_TOKENS] * 3


@pytest.mark.parametrize("use_reentrant", [True, False])
def test_a_checkpointed_model_of_ours_counts_once(use_reentrant):
    torch.manual_seed(0)
    sizes = {"hidden_size": 16, "num_hidden_layers": 3, "num_attention_heads": 2, "vocab_size": 50}
    model = UltraFastBertForMaskedLM(UltraFastBertConfig(**sizes, tree_depth=2)).train()
    for layer in model.model.layers:
        layer.ffn = FastFeedForward(16, depth=2, usage_mode="hard")
    model.activation_checkpointing_enable({"use_reentrant": use_reentrant})
    ids = torch.randint(0, 50, (4, 25))
    model(ids, labels=ids).loss.backward()
    assert [layer.ffn.leaf_usage.sum().item() for layer in model.model.layers] == [100.0] * 3


def test_entropies_are_those_of_the_call_and_not_of_what_computes_it_again():
    stack, plain = (Stack(use_reentrant=False, soft_training=True) for _ in range(2))
    x = torch.randn(N_TOKENS, 6)
    y = stack(x)
    before = [layer.entropies for layer in stack.layers]
    (y.sum() + hardening_loss(stack)).backward()
    assert all(layer.entropies is kept for layer, kept in zip(stack.layers, before, strict=True))
    for layer in plain.layers:
        layer.train()
    z = x
    for layer in plain.layers:
        z = z + layer(z)
    (z.sum() + hardening_loss(plain)).backward()
    for got, expected in zip(stack.parameters(), plain.parameters(), strict=True):
        torch.testing.assert_close(got.grad, expected.grad)


def test_entropies_without_a_gradient_are_refused():
    stack = Stack(use_reentrant=True, soft_training=True)
    stack(torch.randn(N_TOKENS, 6, requires_grad=True))
    with pytest.raises(ValueError, match="use_reentrant=False"):
        hardening_loss(stack)
    with torch.no_grad():
        assert hardening_loss(stack) > 0


CONVERSIONS = {
    "bfloat16": lambda layer: layer.bfloat16(),
    "half": lambda layer: layer.half(),
    "to": lambda layer: layer.to(torch.float16),
    "double": lambda layer: layer.double(),
    "default dtype": lambda layer: layer,
}


@pytest.mark.parametrize("usage_mode", ["hard", "soft"])
@pytest.mark.parametrize("convert", CONVERSIONS.values(), ids=CONVERSIONS)
def test_counters_keep_their_precision(convert, usage_mode):
    options = {"usage_mode": usage_mode, "soft_training": usage_mode == "soft"}
    layer = convert(FastFeedForward(4, depth=1, **options))
    x = torch.ones(1, 4, dtype=layer.w_in.dtype)
    with torch.no_grad():
        for _ in range(5000):
            layer(x)
    assert layer.leaf_usage.sum().item() == pytest.approx(5000)
    assert layer.node_usage.item() == pytest.approx(5000)


def test_counters_grow_beyond_single_precision():
    layer = FastFeedForward(4, depth=1, usage_mode="hard")
    layer.leaf_usage += 2.0**24
    layer(torch.ones(1, 4))
    assert layer.leaf_usage.sum().item() == 2**25 + 1


def test_counters_of_earlier_versions_load():
    layer = FastFeedForward(4, depth=1, usage_mode="hard")
    state = layer.state_dict() | {"leaf_usage": torch.tensor([[3.0, 4.0]])}
    layer.load_state_dict(state)
    assert layer.leaf_usage.tolist() == [[3.0, 4.0]]
    assert layer.leaf_usage.dtype == torch.float64


def test_a_converted_layer_moves_whole():
    layer = FastFeedForward(4, depth=1, shared_size=2, leaf_output_bias=True, usage_mode="hard")
    layer.half()
    assert {p.dtype for p in layer.parameters()} == {torch.float16}
    assert layer.to("meta").leaf_usage.is_meta
