"""Quantized weights: against the definition with the values that they stand for."""

import copy
import datetime
import gc
import pickle
import weakref

import pytest
import torch
from torch.fx.experimental.proxy_tensor import make_fx
from torch.nn.utils import prune
from transformers import AutoModelForMaskedLM

from ultrafastbert import (
    FastFeedForward,
    UltraFastBertConfig,
    UltraFastBertForMaskedLM,
    kernels,
    use_kernel,
)
from ultrafastbert.fff.quantization import dequantize, quantize
from ultrafastbert.fff.quantized_ops import fast_feedforward_quantized
from ultrafastbert.fff.reference import all_logits, fast_feedforward_reference, route
from ultrafastbert.fff.spec import TreeSpec
from ultrafastbert.kernels import native

# H, O, K, D, L
SHAPES = [
    (1, 1, 1, 1, 1),
    (63, 31, 1, 5, 3),
    (48, 48, 3, 2, 1),
    (96, 64, 1, 7, 1),
    (33, 17, 2, 0, 5),
    (65, 33, 2, 3, 9),
    (384, 384, 1, 4, 40),
]
# Relative error of the output against float64 with the same weights, by the dtype of x.
BOUNDS = {torch.float32: 1e-5, torch.bfloat16: 8e-3}
# The same where leaves of int8 rows are multiplied with activations in integers of 16 bits.
INTEGER_BOUND, LEAST_INTEGER_LEAF = 1e-4, 8


def make_layer(shape, **options):
    hidden, output, n_trees, depth, leaf_size = shape
    torch.manual_seed(0)
    return FastFeedForward(hidden, depth, n_trees, leaf_size, output, **options)


@pytest.mark.parametrize("exact_routing", [False, True])
@pytest.mark.parametrize("dtype", BOUNDS)
@pytest.mark.parametrize("weight_dtype", ["bfloat16", "int8"])
@pytest.mark.parametrize("shape", SHAPES)
def test_output_equals_the_definition_with_the_same_values(
    shape, weight_dtype, dtype, exact_routing
):
    layer = make_layer(shape, node_output=shape[2] != 3).quantize_(weight_dtype, exact_routing)
    values = dequantize(layer.weights(), torch.float64)
    x = torch.randn(200, shape[0]).to(dtype)
    logits = all_logits(x.double(), *values[:2])[..., : 2**layer.depth - 1]
    x = x[(logits.abs() > 1e-2).all(-1).all(-1)]  # the others may go either way
    assert len(x) or shape[3] > 5
    exact = fast_feedforward_reference(x.double(), *values, layer.spec)
    in_integers = weight_dtype == "int8" and shape[4] >= LEAST_INTEGER_LEAF
    bound = max(BOUNDS[dtype], INTEGER_BOUND if in_integers else 0)
    with torch.no_grad():
        for _ in range(2):  # by the operator, then by the fast path prepared for the next calls
            y = layer(x)
            assert y.dtype == dtype
            error = (y.double() - exact).norm() / exact.norm().clamp(min=1e-30)
            assert error < bound
    assert torch.equal(
        layer.visited_leaves(x), route(all_logits(x.double(), *values[:2]), shape[3])
    )


@pytest.mark.parametrize("weight_dtype", ["bfloat16", "int8"])
def test_exact_routing_keeps_every_path(weight_dtype):
    layer = make_layer((96, 96, 1, 7, 4))
    x = torch.randn(500, 96)
    expected = layer.visited_leaves(x)
    kept = copy.deepcopy(layer).quantize_(weight_dtype, exact_routing=True)
    assert torch.equal(kept.visited_leaves(x), expected)
    assert (copy.deepcopy(layer).quantize_("int8").visited_leaves(x) != expected).any()


def test_int8_rows_use_their_whole_range():
    weight = torch.randn(2, 7, 16) * torch.logspace(-3, 3, 7)[:, None]
    weight[0, 0] = 0
    weights = quantize(weight, torch.zeros(2, 7), weight, "int8")
    assert weights.w_in.dtype == torch.int8
    assert (weights.w_in.abs().amax(-1).flatten()[1:] == 127).all()
    error = (dequantize(weights)[0] - weight).abs() / weight.abs().amax(-1, keepdim=True).clamp(
        1e-9
    )
    assert error.max() <= 0.5 / 127 * (1 + 1e-3)


def test_without_the_native_core_values_are_the_same(monkeypatch):
    layer = make_layer((63, 31, 1, 5, 3)).quantize_("int8")
    x = torch.randn(20, 63)
    with torch.no_grad():
        expected = layer(x)
        monkeypatch.setattr(native, "_native", None)
        kernels._warn_that_it_is_missing.cache_clear()
        with pytest.warns(RuntimeWarning, match="without its native core"):
            got = fast_feedforward_quantized(x, layer.weights(), layer.spec)
    torch.testing.assert_close(got, expected, rtol=1e-4, atol=1e-4)


def test_quantized_layers_are_for_inference():
    layer = make_layer((8, 8, 1, 2, 1)).quantize_("int8")
    assert not list(layer.parameters())
    assert "weight_dtype=int8" in repr(layer)
    with pytest.raises(RuntimeError, match=r"for inference; use torch\.no_grad"):
        layer(torch.randn(2, 8, requires_grad=True))
    with pytest.raises(ValueError, match="last size must be 8"):
        layer(torch.randn(2, 9))
    with pytest.raises(ValueError, match="int8 already"):
        layer.quantize_("bfloat16")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"b_in": torch.zeros(1, 7, dtype=torch.bfloat16)}, "b_in has dtype torch.bfloat16"),
        ({"b_in": torch.zeros(1, 6)}, r"b_in has shape \(1, 6\)"),
        ({"w_out": torch.zeros(1, 6, 8, dtype=torch.int8)}, r"w_out has shape \(1, 6, 8\)"),
        ({"w_in": torch.zeros(1, 7, 8)}, "w_in has dtype torch.float32"),
        ({"scale_in": None}, "w_in is int8 and needs scale_in"),
        ({"w_routing": torch.zeros(1, 3, 8)}, r"w_in has shape \(1, 7, 8\)"),
        ({"w_in": torch.zeros(7, 8, dtype=torch.int8)}, "must be"),
    ],
)
def test_quantized_weights_that_do_not_fit_are_named(change, message):
    weights = make_layer((8, 8, 1, 2, 1)).quantize_("int8").weights()
    with pytest.raises((ValueError, TypeError), match=message):
        fast_feedforward_quantized(torch.zeros(2, 8), weights._replace(**change), TreeSpec(2))


@torch.no_grad()
def test_quantized_layers_keep_their_dtypes_when_moved():
    layer = make_layer((8, 8, 1, 2, 1), shared_size=4).quantize_("int8")
    x = torch.randn(3, 8)
    expected = layer(x)
    layer.bfloat16()
    assert {t.dtype for t in layer.weights() if t is not None} == {torch.int8, torch.float32}
    assert layer.shared.dense_in.weight.dtype == torch.bfloat16
    torch.testing.assert_close(layer(x.bfloat16()).float(), expected, rtol=5e-2, atol=5e-2)


@torch.no_grad()
def test_quantized_layers_take_the_kernel_that_is_named():
    layer = make_layer((8, 8, 1, 2, 1)).quantize_("int8")
    x = torch.randn(3, 8)
    expected = layer(x)
    with use_kernel("masked"):
        torch.testing.assert_close(layer(x), expected)
    layer.kernel = "none"
    with pytest.raises(ValueError, match="kernel='none' is unknown"):
        layer(x)


def test_what_cannot_be_quantized_is_named():
    layer = make_layer((8, 8, 1, 2, 1))
    with pytest.raises(ValueError, match="weight_dtype='int4' is unknown"):
        layer.quantize_("int4")
    with pytest.raises(ValueError, match="weight_dtype='int4' is unknown"):
        FastFeedForward(8, 2, weight_dtype="int4")
    layer.w_out.data[0, 3, 2] = float("nan")
    with pytest.raises(ValueError, match="w_out holds NaN or infinity"):
        layer.quantize_("int8")


def small_config(**options):
    sizes = {"vocab_size": 60, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}
    return UltraFastBertConfig(**{**sizes, "tree_depth": 3, "leaf_size": 2, **options})


@pytest.mark.parametrize("exact_routing", [False, True])
@pytest.mark.parametrize("weight_dtype", ["bfloat16", "int8"])
def test_models_are_quantized_on_load_and_saved(tmp_path, weight_dtype, exact_routing):
    torch.manual_seed(0)
    model = UltraFastBertForMaskedLM(small_config()).eval()
    model.save_pretrained(tmp_path / "full")
    options = {"weight_dtype": weight_dtype, "exact_routing": exact_routing}
    quantized = UltraFastBertForMaskedLM.from_pretrained(tmp_path / "full", **options)
    ids = torch.randint(1, 60, (2, 9))
    with torch.inference_mode():
        expected, got = model(ids).logits, quantized(ids).logits
        assert 0 < (got - expected).norm() / expected.norm() < 0.1
        quantized.save_pretrained(tmp_path / "small")
        again = UltraFastBertForMaskedLM.from_pretrained(tmp_path / "small")
        assert again.config.weight_dtype == weight_dtype
        assert torch.equal(again(ids).logits, got)
        remade = UltraFastBertForMaskedLM(small_config(**options))
        remade.load_state_dict(quantized.state_dict())
        assert torch.equal(remade.eval()(ids).logits, got)
    by_auto_class = AutoModelForMaskedLM.from_pretrained(tmp_path / "full", **options).eval()
    with torch.inference_mode():
        assert torch.equal(by_auto_class(ids).logits, got)
    other = {"bfloat16": "int8", "int8": "bfloat16"}[weight_dtype]
    with pytest.raises(ValueError, match=f"are {weight_dtype}; load the original"):
        UltraFastBertForMaskedLM.from_pretrained(tmp_path / "small", weight_dtype=other)
    sizes = [(tmp_path / name / "model.safetensors").stat().st_size for name in ("full", "small")]
    assert sizes[1] < sizes[0]


def test_models_without_trees_have_nothing_to_quantize():
    model = UltraFastBertForMaskedLM(small_config(ffn_type="ff", intermediate_size=8))
    with pytest.raises(ValueError, match="no fast feedforward layers, so no weights to quantize"):
        model.quantize_("int8")
    with pytest.raises(ValueError, match="weight_dtype='fp8'"):
        UltraFastBertForMaskedLM.from_pretrained("nowhere", weight_dtype="fp8")


@pytest.fixture
def prepared_layer():
    """Return a layer that has prepared its fast path, its input and output."""
    if not native.KERNEL.is_available():
        pytest.skip("built without a native core")
    layer = make_layer((16, 16, 1, 3, 2))
    x = torch.randn(5, 16)
    with torch.no_grad():
        y = layer(x)
        assert layer._prepared.call(x) is not None
    return layer, x, y


def test_the_fast_path_is_the_same_function(prepared_layer):
    layer, x, y = prepared_layer
    with torch.no_grad():
        assert torch.equal(layer(x), y)
        assert torch.equal(layer(x.view(1, 5, 16)), y.view(1, 5, 16))
        assert torch.equal(layer(x[::2]), y[::2])
        assert layer(x[:0]).shape == (0, 16)
        assert layer._prepared.call(x.double()) is None
        with use_kernel("gather"):
            torch.testing.assert_close(layer(x), y)
    assert layer(x).requires_grad
    with torch.no_grad(), pytest.raises(ValueError, match="last size must be 16"):
        layer(torch.randn(5, 15))


@torch.no_grad()
def test_the_fast_path_follows_weights_that_change_or_move(prepared_layer):
    layer, x, y = prepared_layer
    layer.w_out.mul_(2)
    assert torch.equal(layer(x), 2 * y)
    layer.w_out.data = layer.w_out / 4
    assert torch.equal(layer(x), y / 2)
    whole, layer.w_out.data = layer.w_out.data, layer.w_out[:, :5]
    for _ in range(3):  # what the operator refuses is never prepared
        with pytest.raises(ValueError, match="w_out has shape"):
            layer(x)
    layer.w_out.data = whole
    other = make_layer((16, 16, 1, 3, 2))
    other.w_in.add_(1)
    layer.load_state_dict(other.state_dict(), assign=True)
    assert torch.equal(layer(x), other(x))
    torch.testing.assert_close(layer.double()(x.double()).float(), layer.float()(x))


@torch.no_grad()
def test_the_fast_path_follows_options(prepared_layer):
    layer, x, y = prepared_layer
    layer.activation = "relu"
    assert not torch.allclose(layer(x), y)
    prune.l1_unstructured(layer, "w_out", 0.5)
    pruned = layer(x)
    assert torch.equal(layer(x), pruned)


@torch.no_grad()
def test_what_records_or_transforms_sees_the_operator(prepared_layer):
    layer, x, y = prepared_layer
    graph = make_fx(layer)(x)
    assert torch.equal(graph(x), y)
    assert any("fast_feedforward" in str(node.target) for node in graph.graph.nodes)
    with pytest.warns(DeprecationWarning, match="jit.trace"):
        traced = torch.jit.trace(layer, x)
    assert "fast_feedforward" in str(traced.inlined_graph)
    assert torch.equal(torch.func.vmap(layer)(x.view(5, 1, 16))[:, 0], y)
    with torch.autocast("cpu", torch.bfloat16):
        assert [layer(x.bfloat16()).dtype for _ in range(3)] == [torch.float32] * 3


@torch.no_grad()
def test_what_is_no_plain_tensor_goes_to_the_operator(prepared_layer):
    layer, x, _ = prepared_layer
    others = (
        None,
        "x",
        x.to_sparse(),
        x.to("meta"),
        torch.nn.Parameter(x),
        x.T,
        x[:, None].expand(5, 2, 16),  # not contiguous
        x[:, :0],
        x.long(),
        torch.tensor(1.0),
    )
    for other in others:
        assert layer._prepared.call(other) is None
    assert layer(x.to("meta")).device.type == "meta"


@torch.no_grad()
def test_outputs_of_another_size_are_prepared_too():
    layer = FastFeedForward(8, 2, output_size=3)
    x = torch.randn(4, 2, 8)
    y = layer(x)
    if native.KERNEL.is_available():
        assert torch.equal(layer._prepared.call(x), y)


@torch.no_grad()
def test_without_an_exchange_table_the_operator_is_called(monkeypatch):
    monkeypatch.setattr(native, "can_prepare", lambda: False)
    layer, x = FastFeedForward(8, 2), torch.randn(4, 8)
    y = layer(x)
    assert layer._prepared is None
    assert torch.equal(layer(x), y)


def test_exchange_tables_of_unknown_kinds_are_none():
    if not native.KERNEL.is_available():
        pytest.skip("built without a native core")
    assert native.can_prepare()
    is_known = native._native.is_exchange_table
    assert is_known(getattr(torch.Tensor, native.EXCHANGE_TABLE))
    assert not any(map(is_known, (None, 1, datetime.datetime_CAPI)))


@torch.no_grad()
def test_a_layer_that_its_weights_lead_back_to_is_freed(prepared_layer):
    layer, x, _ = prepared_layer
    copied = copy.deepcopy(layer)
    copied.w_in.owner = copied
    copied(x)
    assert copied._prepared.call(x) is not None
    freed = weakref.ref(copied)
    del copied
    gc.collect()
    assert freed() is None


@torch.no_grad()
def test_copies_prepare_for_themselves(prepared_layer):
    layer, x, y = prepared_layer
    for other in (copy.deepcopy(layer), pickle.loads(pickle.dumps(layer))):
        other.w_out.zero_()
        for _ in range(2):
            assert not other(x).any()
            assert torch.equal(layer(x), y)


@torch.no_grad()
def test_compilers_and_tracers_see_the_operator(prepared_layer):
    layer, x, y = prepared_layer
    assert torch.equal(torch.compile(layer, fullgraph=True, backend="eager")(x), y)
    assert torch.equal(torch.export.export(layer, (x,)).module()(x), y)
