"""Quantizing layers whose weights are pruned, parametrized, wrapped, shared or nowhere yet."""

import copy
import pickle
import warnings

import pytest
import torch
from tiny_models import batch, tiny
from torch import nn
from torch.nn.utils import parametrizations, parametrize, prune

from ultrafastbert import FastFeedForward, UltraFastBertForMaskedLM
from ultrafastbert.inference.engines.unrolled import UnrolledFeedForward


class Doubled(nn.Module):
    def forward(self, weight):
        return 2 * weight


class LowRank(nn.Module):
    """A layer with a low-rank product beside it, as LoRA adds one."""

    def __init__(self, base, rank=2):
        super().__init__()
        self.base = base
        self.down = nn.Linear(base.hidden_size, rank, bias=False)
        self.up = nn.Linear(rank, base.output_size, bias=False)

    def forward(self, x):
        return self.base(x) + self.up(self.down(x))


def old_weight_norm(layer, name):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        return torch.nn.utils.weight_norm(layer, name)


# How a weight comes to be computed from others, and how it is made a parameter again.
WAYS = {
    "pruned": (lambda layer, name: prune.l1_unstructured(layer, name, 0.5), prune.remove),
    "parametrized": (
        lambda layer, name: parametrize.register_parametrization(layer, name, Doubled()),
        parametrize.remove_parametrizations,
    ),
    "weight_norm": (parametrizations.weight_norm, parametrize.remove_parametrizations),
    "spectral_norm": (parametrizations.spectral_norm, parametrize.remove_parametrizations),
    "old weight_norm": (old_weight_norm, torch.nn.utils.remove_weight_norm),
    "old spectral_norm": (torch.nn.utils.spectral_norm, torch.nn.utils.remove_spectral_norm),
}
CASES = [(way, name) for way in WAYS for name in ("w_in", "w_out", "b_in", "b_out")]
# Norms are those of matrices.
CASES = [(way, name) for way, name in CASES if "norm" not in way or name.startswith("w_")]


def make_layer(**options):
    torch.manual_seed(0)
    layer = FastFeedForward(12, 3, leaf_size=2, leaf_output_bias=True, **options).eval()
    nn.init.normal_(layer.b_in)
    nn.init.normal_(layer.b_out)
    return layer


@pytest.mark.parametrize(("way", "name"), CASES)
@torch.no_grad()
def test_computed_weights_are_refused_until_they_are_parameters(way, name):
    layer, x = make_layer(), torch.randn(6, 12)
    compute, remove = WAYS[way]
    compute(layer, name)
    expected = layer(x)
    for attempt in (lambda: layer.quantize_("int8"), lambda: UnrolledFeedForward(layer)):
        with pytest.raises(ValueError, match=rf"{name} is computed at each call.*remove\("):
            attempt()
    assert layer.weight_dtype is None
    assert torch.equal(layer(x), expected)  # nothing was changed
    remove(layer, name)
    torch.testing.assert_close(layer(x), expected)
    torch.testing.assert_close(UnrolledFeedForward(layer)(x), expected)
    quantized = copy.deepcopy(layer).quantize_("int8", exact_routing=True)
    for _ in range(2):
        assert (quantized(x) - expected).norm() < 0.05 * expected.norm()


def make_model():
    torch.manual_seed(0)
    return UltraFastBertForMaskedLM(tiny(initializer_range=0.3)).eval()


def spoil(layer):
    prune.l1_unstructured(layer, "w_out", 0.5)


def spoil_values(layer):
    layer.w_out.data[0, 0, 0] = float("inf")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (spoil, "w_out is computed at each call"),
        (spoil_values, "w_out holds NaN or infinity"),
        (lambda layer: layer.quantize_("bfloat16"), "weights are bfloat16 already"),
    ],
)
def test_a_model_is_quantized_as_a_whole_or_not_at_all(change, message):
    model = make_model()
    change(model.model.layers[1].ffn)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    with pytest.raises(ValueError, match=message):
        model.quantize_("int8")
    assert model.config.weight_dtype is None
    assert model.state_dict().keys() == before.keys()
    for name, value in model.state_dict().items():
        assert value.dtype == before[name].dtype
        assert torch.equal(value, before[name])


@torch.no_grad()
def test_wrapped_layers_are_quantized_inside():
    model, (ids, mask) = make_model(), batch()
    for layer in model.model.layers:
        layer.ffn = LowRank(layer.ffn)
    expected = model(ids, mask).logits
    model.quantize_("int8", exact_routing=True)
    assert (model(ids, mask).logits - expected).norm() < 0.1 * expected.norm()
    model.model.layers[0].ffn.up.weight.zero_()
    assert not torch.allclose(model(ids, mask).logits, expected)


@torch.no_grad()
def test_shared_weights_are_quantized_where_they_are_used():
    x = torch.randn(6, 12)
    first, second = make_layer(), make_layer()
    second.w_in, second.w_out = first.w_in, first.w_out
    expected = copy.deepcopy(first).quantize_("int8")(x)
    assert torch.equal(first.quantize_("int8")(x), expected)
    assert torch.equal(second.quantize_("int8")(x), expected)
    model, (ids, mask) = make_model(), batch()
    model.model.layers[1].ffn = model.model.layers[0].ffn
    before = model(ids, mask).logits
    model.quantize_("int8", exact_routing=True)
    assert model.model.layers[1].ffn is model.model.layers[0].ffn
    assert (model(ids, mask).logits - before).norm() < 0.1 * before.norm()


@pytest.mark.parametrize("assign", [True, False])
@pytest.mark.parametrize("weight_dtype", ["bfloat16", "int8"])
@torch.no_grad()
def test_layers_are_quantized_ahead_of_their_weights(weight_dtype, assign):
    full = make_layer().quantize_(weight_dtype, exact_routing=True)
    x = torch.randn(6, 12)
    layer = make_layer(device="meta")
    layer.quantize_(weight_dtype, exact_routing=True)
    assert layer(x.to("meta")).shape == (6, 12)
    if not assign:
        layer.to_empty(device="cpu")
    layer.load_state_dict(full.state_dict(), assign=assign)
    assert torch.equal(layer.eval()(x), full(x))


@pytest.mark.parametrize("weight_dtype", ["bfloat16", "int8"])
@torch.no_grad()
def test_quantized_layers_are_copied_and_moved(weight_dtype):
    layer = make_layer().quantize_(weight_dtype, exact_routing=True)
    x = torch.randn(6, 12)
    expected = layer(x)
    copies = [copy.deepcopy(layer), pickle.loads(pickle.dumps(layer)), layer.to("cpu")]
    copies.append(copy.deepcopy(layer).to("meta").to_empty(device="cpu"))
    copies[-1].load_state_dict(layer.state_dict())
    for other in copies:
        assert all(
            a is None or (torch.equal(a, b) and a.dtype == b.dtype)
            for a, b in zip(other.weights(), layer.weights(), strict=True)
        )
        for _ in range(2):
            assert torch.equal(other(x), expected)
