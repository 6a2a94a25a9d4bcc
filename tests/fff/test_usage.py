"""Counters of leaves: every token once, whatever computes it again and whatever the precision."""

import copy
from functools import partial

import pytest
import torch
from torch.utils.checkpoint import (
    CheckpointPolicy,
    checkpoint,
    create_selective_checkpoint_contexts,
)

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


def test_each_layer_needs_its_gradient():
    stack = Stack(use_reentrant=True, soft_training=True)
    x = torch.randn(N_TOKENS, 6, requires_grad=True)
    stack(x)
    stack.layers[2](stack.layers[1](x))  # once more, with gradients
    with pytest.raises(ValueError, match="entropies of a layer's last call have no gradient"):
        hardening_loss(stack)


def test_a_frozen_layer_needs_no_gradient():
    layers = Stack(use_reentrant=True, soft_training=True).layers
    layers[0].requires_grad_(False)
    layers[1].soft_training = False
    layers[1](layers[0](torch.randn(N_TOKENS, 6)))
    assert hardening_loss(layers) > 0


@pytest.mark.parametrize("usage_mode", ["hard", "soft"])
@pytest.mark.parametrize("kept", ["stack", "mul", "scatter_add"])
def test_selective_checkpointing(usage_mode, kept):
    def policy(ctx, op, *args, **kwargs):
        name = f"aten.{kept}.default"
        return CheckpointPolicy.MUST_SAVE if str(op) == name else CheckpointPolicy.PREFER_RECOMPUTE

    def gradients(run):
        torch.manual_seed(0)
        layers = (
            FastFeedForward(6, depth=2, usage_mode=usage_mode, soft_training=usage_mode == "soft")
            for _ in range(3)
        )
        stack = torch.nn.Sequential(*layers)
        run(stack, torch.randn(N_TOKENS, 6)).square().sum().backward()
        counts = [round(layer.leaf_usage.sum().item()) for layer in stack]
        return counts, [parameter.grad for parameter in stack.parameters()]

    contexts = partial(create_selective_checkpoint_contexts, policy)
    counts, got = gradients(partial(checkpoint, use_reentrant=False, context_fn=contexts))
    _, expected = gradients(lambda stack, x: stack(x))
    assert counts == [N_TOKENS] * 3
    for pair in zip(got, expected, strict=True):
        torch.testing.assert_close(*pair)


@pytest.mark.filterwarnings("ignore")  # the compiler's own deprecations
@pytest.mark.parametrize(
    ("soft_training", "inside"),
    [(False, True), (False, False), (True, False)],  # compilers keep no entropies of what they redo
)
def test_compiled_layers_count_once(soft_training, inside):
    layer = FastFeedForward(6, depth=2, usage_mode="hard", soft_training=soft_training)
    x = torch.randn(N_TOKENS, 6, requires_grad=True)
    call = partial(checkpoint, layer, use_reentrant=False) if inside else layer
    compiled = torch.compile(call, backend="aot_eager", fullgraph=True)
    for n_calls in (1, 2):
        y = compiled(x) if inside else checkpoint(compiled, x, use_reentrant=False)
        y.sum().backward()
        assert layer.leaf_usage.sum() == n_calls * N_TOKENS


@pytest.mark.filterwarnings("ignore:`torch.jit:DeprecationWarning")
@pytest.mark.parametrize("soft_training", [True, False])
def test_transformed_calls_count(soft_training):
    layer = FastFeedForward(6, depth=2, usage_mode="hard", soft_training=soft_training)
    x = torch.randn(N_TOKENS, 6)
    calls = [
        lambda: torch.vmap(layer)(x),
        lambda: torch.func.jvp(layer, (x,), (x,)),
        lambda: torch.func.grad(lambda x: layer(x).sum())(x),
        lambda: torch.vmap(torch.func.grad(lambda x: layer(x).sum()))(x),
    ]
    for n_calls, call in enumerate(calls, 1):
        call()
        assert layer.leaf_usage.sum() == n_calls * N_TOKENS
    assert layer.entropies is None
    stacked, buffers = torch.func.stack_module_state([layer, copy.deepcopy(layer)])
    call = partial(torch.func.functional_call, layer)
    torch.vmap(lambda p, b: call((p, b), (x,)))(stacked, buffers)
    assert buffers["leaf_usage"].sum((1, 2)).tolist() == [5 * N_TOKENS] * 2


CONVERSIONS = {
    "bfloat16": lambda layer: layer.bfloat16(),
    "half": lambda layer: layer.half(),
    "to": lambda layer: layer.to(torch.float16),
    "double": lambda layer: layer.double(),
    "default dtype": lambda layer: layer,
}


@pytest.mark.slow
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
    layer.leaf_usage += 2**24
    layer(torch.ones(1, 4))
    assert layer.leaf_usage.sum().item() == 2**25 + 1


def test_counters_of_earlier_versions_load():
    layer = FastFeedForward(4, depth=1, usage_mode="hard")
    state = layer.state_dict() | {"leaf_usage": torch.tensor([[3.0, 4.0]])}
    layer.load_state_dict(state)
    assert layer.leaf_usage.tolist() == [[3, 4]]
    assert layer.leaf_usage.dtype == torch.int64


@pytest.mark.parametrize("usage_mode", ["hard", "soft"])
def test_counters_that_take_the_place_of_others_keep_the_precision(usage_mode):
    layer = FastFeedForward(4, depth=1, usage_mode=usage_mode)
    state = {name: tensor.half() for name, tensor in layer.state_dict().items()}
    dtype = layer.leaf_usage.dtype
    layer.load_state_dict(state, assign=True)
    assert layer.leaf_usage.dtype == dtype


def test_a_converted_layer_moves_whole():
    layer = FastFeedForward(4, depth=1, shared_size=2, leaf_output_bias=True, usage_mode="hard")
    layer.half()
    assert {p.dtype for p in layer.parameters()} == {torch.float16}
    assert layer.to("meta").leaf_usage.is_meta
