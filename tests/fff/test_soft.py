"""Soft routing and what belongs to it: the mixture, entropies, region leak, dropout, usage."""

import copy
import math
import pickle

import pytest
import torch

from ultrafastbert import (
    FastFeedForward,
    UltraFastBertConfig,
    UltraFastBertForMaskedLM,
    hardening_loss,
)
from ultrafastbert.fff import soft, tree
from ultrafastbert.fff.activations import ACTIVATIONS
from ultrafastbert.fff.reference import fast_feedforward_reference
from ultrafastbert.fff.spec import TreeSpec

# H, O, K, D, L
SHAPES = [(5, 4, 1, 3, 2), (3, 3, 2, 1, 1), (7, 2, 1, 0, 3), (4, 6, 3, 2, 1), (6, 5, 1, 4, 3)]
NAMES = ("w_in", "b_in", "w_out", "b_out")


def make_layer(shape=(5, 4, 2, 3, 2), dtype=torch.float64, **options):
    hidden, output, n_trees, depth, leaf_size = shape
    torch.manual_seed(0)
    defaults = {"leaf_output_bias": True, "soft_training": True}
    layer = FastFeedForward(
        hidden, depth, n_trees, leaf_size, output, dtype=dtype, **(defaults | options)
    )
    for bias in (layer.b_in, layer.b_out):
        if bias is not None:
            torch.nn.init.normal_(bias)
    return layer


def weights(layer):
    return [getattr(layer, name) for name in NAMES]


def mixture(x, w_in, b_in, w_out, b_out, depth, leaf_size, node_output):
    """One token through one tree, by the recursion of the definition: x (H) -> y (O)."""
    n_nodes = 2**depth - 1

    def neuron(row):
        logit = w_in[row] @ x + b_in[row]
        return logit, ACTIVATIONS["gelu"].forward(logit) * w_out[row]

    def visit(node):
        if node >= n_nodes:
            leaf = node - n_nodes
            first = n_nodes + leaf * leaf_size
            return b_out[leaf] + sum(neuron(first + i)[1] for i in range(leaf_size))
        logit, output = neuron(node)
        right = 1 / (1 + torch.exp(-logit))
        below = (1 - right) * visit(2 * node + 1) + right * visit(2 * node + 2)
        return output + below if node_output else below

    return visit(0)


@pytest.mark.parametrize("node_output", [True, False])
@pytest.mark.parametrize("shape", SHAPES)
def test_training_is_the_mixture_of_all_paths(shape, node_output):
    layer = make_layer(shape, node_output=node_output)
    x = torch.randn(3, 2, shape[0], dtype=torch.float64, requires_grad=True)
    grad_y = torch.randn(3, 2, shape[1], dtype=torch.float64)
    tensors = [x, *weights(layer)]

    def formula(tokens):
        trees = list(zip(*weights(layer), strict=True))
        ys = [sum(mixture(t, *w, *shape[3:], node_output) for w in trees) for t in tokens]
        return torch.stack(ys)

    expected = formula(x.flatten(0, 1)).view(3, 2, shape[1])
    y = layer(x)
    torch.testing.assert_close(y, expected, rtol=1e-10, atol=1e-10)
    got = torch.autograd.grad(y, tensors, grad_y)
    for a, b in zip(got, torch.autograd.grad(expected, tensors, grad_y), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("node_output", [True, False])
def test_hard_decisions_are_the_limit(node_output):
    layer = make_layer(node_output=node_output)
    x = torch.randn(20, 5, dtype=torch.float64)
    with torch.no_grad():
        n_nodes = tree.n_nodes(layer.depth)
        layer.w_in[:, :n_nodes] *= 1e6
        layer.b_in[:, :n_nodes] *= 1e6
        torch.testing.assert_close(layer.train()(x), layer.eval()(x))


def test_gradcheck():
    layer = make_layer()
    x = torch.randn(4, 5, dtype=torch.float64, requires_grad=True)

    def mix(x, *weights):
        y, right = soft.soft_feedforward(x, *weights, TreeSpec(3, 2, node_output=False))
        return y, soft.decision_entropies(right)

    torch.autograd.gradcheck(mix, (x, *weights(layer)))


def test_entropies_are_batch_means():
    right = torch.tensor([[[0.5, 0.2]], [[0.5, 1.0]]], dtype=torch.float64, requires_grad=True)
    entropies = soft.decision_entropies(right)
    expected = -(0.2 * math.log(0.2) + 0.8 * math.log(0.8)) / 2
    torch.testing.assert_close(
        entropies, torch.tensor([[math.log(2), expected]], dtype=torch.float64), rtol=0, atol=2e-5
    )
    entropies.sum().backward()
    assert right.grad[1, 0, 1] == 0  # as hard as it gets
    assert right.grad[0, 0, 1] > 0
    assert soft.decision_entropies(right[:0]).sum() == 0


def test_hardening_loss_sums_the_layers_and_makes_decisions_hard():
    model = torch.nn.Sequential(make_layer((4, 4, 2, 2, 1)), make_layer((4, 4, 1, 3, 2)))
    with pytest.raises(ValueError, match="no layer has entropies"):
        hardening_loss(model)
    x = torch.randn(30, 4, dtype=torch.float64)
    model(x)
    first = hardening_loss(model)
    assert torch.equal(first, model[0].entropies.sum() + model[1].entropies.sum())
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    for _ in range(20):
        optimizer.zero_grad()
        model(x)
        hardening_loss(model).backward()
        optimizer.step()
    assert hardening_loss(model) < 0.8 * first


def test_a_decision_leaks_with_its_probability():
    logits = torch.randn(1, 1, 7, dtype=torch.float64).expand(20_000, 1, 7)
    right = torch.sigmoid(logits[0])
    assert torch.equal(soft.decide(logits[:1], 1.0), 1 - right[None])
    leaked = soft.decide(logits, 0.2)
    swapped = leaked != right
    torch.testing.assert_close(leaked, torch.where(swapped, 1 - right, right))
    deviation = (0.2 * 0.8 / 20_000) ** 0.5
    assert ((swapped.double().mean(0) - 0.2).abs() < 5 * deviation).all()
    # Decisions leak independently, so the mean mixture is that of the mean decisions.
    mean = soft.visit_probabilities(0.8 * right[None] + 0.2 * (1 - right[None]), 3)[1]
    _, leaves = soft.visit_probabilities(leaked, 3)
    torch.testing.assert_close(leaves.mean(0), mean[0], rtol=0, atol=0.015)


@pytest.mark.parametrize("option", [{"region_leak": 0.5}, {"dropout": 0.5}])
def test_evaluation_has_neither_leak_nor_dropout(option):
    plain, layer = make_layer(), make_layer(**option)
    x = torch.randn(9, 5, dtype=torch.float64)
    assert torch.equal(layer.eval()(x), plain.eval()(x))
    assert not torch.equal(layer.train()(x), plain.train()(x))


def test_dropout_spares_the_biases_of_leaves():
    layer = make_layer((5, 4, 1, 2, 3), dropout=1.0)
    layer.b_out.data[:] = 3.0
    y = layer(torch.randn(6, 5, dtype=torch.float64))
    torch.testing.assert_close(y, torch.full_like(y, 3.0))


@pytest.mark.parametrize("soft_training", [True, False])
def test_hard_usage_counts_where_tokens_went(soft_training):
    layer = make_layer(usage_mode="hard", soft_training=soft_training)
    x = torch.randn(3, 7, 5, dtype=torch.float64)
    layer.eval()(x)
    assert not layer.leaf_usage.any()
    layer.train()
    layer(x)
    with torch.no_grad():
        for _ in range(3):  # nor is it left out on the fast path of calls without gradients
            layer(x)
    leaves = layer.visited_leaves(x).flatten(0, 1)
    counts = torch.stack([leaf.bincount(minlength=8) for leaf in leaves.unbind(1)])
    assert torch.equal(layer.leaf_usage, 4.0 * counts)
    nodes = tree.path_nodes(leaves, 3)  # (T, K, D)
    counts = torch.stack([node.flatten().bincount(minlength=7) for node in nodes.unbind(1)])
    assert torch.equal(layer.node_usage, 4.0 * counts)


def test_soft_usage_adds_up_probabilities():
    layer = make_layer(usage_mode="soft", dtype=torch.float32)
    x = torch.randn(21, 5)
    layer(x)
    logits = torch.einsum("th,knh->tkn", x, layer.w_in[:, :7]) + layer.b_in[:, :7]
    nodes, leaves = soft.visit_probabilities(torch.sigmoid(logits), 3)
    torch.testing.assert_close(layer.leaf_usage.float(), leaves.sum(0))
    torch.testing.assert_close(layer.node_usage.float(), nodes.sum(0))
    torch.testing.assert_close(layer.leaf_usage.sum(-1).float(), torch.full((2,), 21.0))
    again = make_layer(usage_mode="soft", dtype=torch.float32)
    again.load_state_dict(layer.state_dict())
    assert torch.equal(again.leaf_usage, layer.leaf_usage)
    assert make_layer().node_usage is None


def test_hard_training_of_the_same_layer_is_exactly_sparse():
    layer = make_layer(node_output=False)
    layer.soft_training = False
    x = torch.randn(1, 5, dtype=torch.float64)
    y = layer(x)
    w_in, b_in, w_out, b_out = weights(layer)
    expected = fast_feedforward_reference(x, w_in, b_in, w_out, layer.spec, b_out)
    torch.testing.assert_close(y, expected)
    y.sum().backward()
    assert not layer.w_in.grad[:, :7].any()
    assert torch.equal((layer.b_out.grad != 0).any(-1).sum(-1), torch.ones(2))


def test_switching_modes_leaves_the_fast_path():
    layer = make_layer(dtype=torch.float32).eval()
    x = torch.randn(4, 5)
    with torch.no_grad():
        hard = layer(x)
        assert torch.equal(layer(x), hard)  # by the fast path
        mixed = layer.train()(x)
        assert not torch.equal(mixed, hard)
        layer.soft_training = False
        torch.testing.assert_close(layer(x), hard)
        torch.testing.assert_close(layer(x), hard)
        layer.soft_training = True
        assert torch.equal(layer(x), mixed)


def test_copies_do_not_carry_the_graph():
    layer = make_layer()
    x = torch.randn(4, 5, dtype=torch.float64)
    y = layer(x)
    for twin in (copy.deepcopy(layer), pickle.loads(pickle.dumps(layer))):
        assert twin.entropies is None
        assert torch.equal(twin(x), y)
    assert layer.entropies.requires_grad


@pytest.mark.filterwarnings("ignore")  # the compiler's own deprecations
@pytest.mark.parametrize("training", [True, False])
def test_compiles_with_fullgraph(training):
    layer = make_layer(usage_mode="soft").train(training)
    compiled = torch.compile(layer, fullgraph=True, backend="aot_eager")
    x = torch.randn(2, 5, 5, dtype=torch.float64, requires_grad=True)
    tensors = [x, *weights(layer)]
    expected = torch.autograd.grad(layer(x).square().sum(), tensors)
    got = torch.autograd.grad(compiled(x).square().sum(), tensors)
    for a, b in zip(got, expected, strict=True):
        torch.testing.assert_close(a, b)


def test_bfloat16_tokens_and_autocast():
    layer = make_layer(dtype=torch.float32)
    x = torch.randn(6, 5).bfloat16()
    y = layer(x)
    assert y.dtype == torch.bfloat16
    assert layer.entropies.dtype == torch.float32
    with torch.autocast("cpu", torch.bfloat16):
        mixed = layer(x.float())
    assert layer.entropies.dtype == torch.float32
    torch.testing.assert_close(mixed, layer(x.float()), rtol=0.05, atol=0.05)


def test_no_token_at_all():
    layer = make_layer(usage_mode="hard")
    assert layer(torch.zeros(2, 0, 5, dtype=torch.float64)).shape == (2, 0, 4)
    assert hardening_loss(layer) == 0
    assert not layer.leaf_usage.any()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"region_leak": 1.5}, r"region_leak=1\.5 must be between 0 and 1"),
        ({"dropout": -0.1}, r"dropout=-0\.1 must be between 0 and 1"),
        ({"region_leak": 0.1, "soft_training": False}, "needs soft_training=True"),
        ({"usage_mode": "all"}, "usage_mode='all' is unknown"),
    ],
)
def test_options_that_do_not_fit_are_named(options, message):
    with pytest.raises(ValueError, match=message):
        make_layer(**options)


def test_tokens_that_do_not_fit_are_named():
    with pytest.raises(ValueError, match="last size must be 5"):
        make_layer()(torch.zeros(3, 4, dtype=torch.float64))
    with pytest.raises(TypeError, match="floating point"):
        make_layer()(torch.zeros(3, 5, dtype=torch.int64))


def tiny_model(**options):
    torch.manual_seed(0)
    sizes = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "vocab_size": 50}
    family = {"tree_depth": 2, "leaf_size": 2, "node_output": False, "leaf_output_bias": True}
    config = UltraFastBertConfig(**sizes, **family, soft_training=True, **options)
    return UltraFastBertForMaskedLM(config)


def test_a_model_carries_the_options(tmp_path):
    model = tiny_model(region_leak=0.25)
    layer = model.model.layers[0].ffn
    assert (layer.soft_training, layer.region_leak, layer.node_output) == (True, 0.25, False)
    assert not layer.b_out.any()
    layer.b_out.data.normal_()
    model.save_pretrained(tmp_path)
    again = UltraFastBertForMaskedLM.from_pretrained(tmp_path).eval()
    ids = torch.randint(1, 50, (2, 7))
    assert torch.equal(again(ids).logits, model.eval()(ids).logits)
    small = UltraFastBertForMaskedLM.from_pretrained(tmp_path, weight_dtype="bfloat16")
    torch.testing.assert_close(small.model.layers[0].ffn.b_out, layer.b_out.detach())
    with pytest.raises(ValueError, match="region_leak=2"):
        tiny_model(region_leak=2.0)


@pytest.mark.parametrize("checkpointing", [False, True])
def test_a_model_has_one_hardening_loss(checkpointing):
    model = tiny_model(hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0).train()
    if checkpointing:
        model.activation_checkpointing_enable()
    ids = torch.randint(1, 50, (2, 7))
    model(ids, labels=ids)
    loss = hardening_loss(model)
    layers = [layer.ffn for layer in model.model.layers]
    assert torch.equal(loss, sum(layer.entropies.sum() for layer in layers))
    loss.backward()
    assert all(layer.w_in.grad[:, :3].any() for layer in layers)
    assert not any(layer.w_in.grad[:, 3:].any() for layer in layers[1:])
