"""Output biases of leaves: every kernel, quantized and on the fast path, against the definition."""

import copy
import pickle

import pytest
import torch
from kernel_cases import usable
from torch.nn.utils import prune

from ultrafastbert import FastFeedForward, fast_feedforward, use_kernel
from ultrafastbert.fff.quantization import dequantize
from ultrafastbert.fff.reference import fast_feedforward_reference
from ultrafastbert.kernels import KERNELS

# H, O, K, D, L
SHAPES = [(5, 4, 1, 3, 2), (3, 3, 3, 2, 1), (7, 2, 2, 0, 3)]


def make_layer(shape=(5, 4, 2, 3, 2), **options):
    hidden, output, n_trees, depth, leaf_size = shape
    torch.manual_seed(0)
    layer = FastFeedForward(
        hidden, depth, n_trees, leaf_size, output, leaf_output_bias=True, **options
    )
    torch.nn.init.normal_(layer.b_out)
    return layer


def definition(layer, x):
    w_in, b_in, w_out = (
        dequantize(layer.weights()) if layer.weight_dtype else (layer.w_in, layer.b_in, layer.w_out)
    )
    return fast_feedforward_reference(x, w_in, b_in, w_out, layer.spec, layer.b_out)


@pytest.mark.parametrize("node_output", [True, False])
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("kernel", KERNELS)
def test_output_and_gradients_equal_the_definition(kernel, shape, node_output):
    if kernel not in usable(shape[3], torch.float64):
        pytest.skip(f"{kernel} does not compute this here")
    layer = make_layer(shape, dtype=torch.float64, node_output=node_output, kernel=kernel)
    x = torch.randn(20, shape[0], dtype=torch.float64, requires_grad=True)
    tensors = [x, *layer.parameters()]
    y, expected = layer(x.view(4, 5, -1)).flatten(0, 1), definition(layer, x)
    torch.testing.assert_close(y, expected)
    got = torch.autograd.grad(y.square().sum(), tensors)
    for a, b in zip(got, torch.autograd.grad(expected.square().sum(), tensors), strict=True):
        torch.testing.assert_close(a, b)


def test_gradcheck():
    layer = make_layer(dtype=torch.float64)
    x = torch.randn(4, 5, dtype=torch.float64)
    w_in, b_in, w_out = layer.w_in, layer.b_in, layer.w_out
    torch.autograd.gradcheck(
        lambda b_out: fast_feedforward(x, w_in, b_in, w_out, 3, 2, b_out=b_out), layer.b_out
    )


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("weight_dtype", [None, "bfloat16", "int8"])
@pytest.mark.parametrize("kernel", [None, "gather"])
def test_without_gradients(kernel, weight_dtype, dtype):
    layer = make_layer((32, 16, 2, 3, 2), weight_dtype=None, kernel=kernel).eval()
    if weight_dtype:
        layer.quantize_(weight_dtype, exact_routing=True)
        assert layer.b_out.dtype == torch.float32
        assert not list(layer.parameters())
    x = torch.randn(3, 4, 32).to(dtype)
    bound = 1e-5 if dtype == torch.float32 else 0.05
    with torch.no_grad():
        expected = definition(layer, x.flatten(0, 1).float()).view(3, 4, 16)
        for _ in range(2):  # by the operator, then by the fast path prepared for the next calls
            y = layer(x)
            assert y.dtype == dtype
            torch.testing.assert_close(y.float(), expected, rtol=bound, atol=bound)


def test_the_fast_path_follows_the_bias():
    layer = make_layer().eval()
    x = torch.randn(6, 5)
    with torch.no_grad():
        for _ in range(2):
            layer(x)
        layer.b_out += 1
        torch.testing.assert_close(layer(x), definition(layer, x))
        layer.b_out = torch.nn.Parameter(layer.b_out * 2)
        for _ in range(2):
            torch.testing.assert_close(layer(x), definition(layer, x))
        layer.double()
        for _ in range(2):
            torch.testing.assert_close(layer(x.double()), definition(layer, x.double()))
        prune.random_unstructured(layer, "b_out", amount=0.5)
        for _ in range(2):
            torch.testing.assert_close(layer(x.double()), definition(layer, x.double()))


@pytest.mark.parametrize("weight_dtype", [None, "int8"])
def test_copies_and_state_dicts(weight_dtype):
    layer, other = (make_layer(weight_dtype=None) for _ in range(2))
    other.b_out.data.zero_()
    if weight_dtype:
        layer.quantize_(weight_dtype)
        other.quantize_(weight_dtype)
    x = torch.randn(6, 5)
    other.load_state_dict(layer.state_dict())
    with torch.no_grad():
        y = layer(x)
        for twin in (copy.deepcopy(layer), pickle.loads(pickle.dumps(layer)), other):
            assert torch.equal(twin(x), y)


def test_quantized_layers_route_hard_in_training():
    layer = make_layer(soft_training=True).quantize_("bfloat16").train()
    x = torch.randn(6, 5)
    with torch.no_grad():
        torch.testing.assert_close(layer(x), layer.eval()(x))


@pytest.mark.filterwarnings("ignore")  # the exporter's own deprecations
def test_export_with_dynamic_batch():
    layer = make_layer().eval()
    batch = torch.export.Dim("batch", min=2, max=64)
    program = torch.export.export(layer, (torch.randn(4, 3, 5),), dynamic_shapes=({0: batch},))
    x = torch.randn(7, 3, 5)
    torch.testing.assert_close(program.module()(x), layer(x))


def test_a_bias_that_does_not_fit_is_named():
    layer = make_layer()
    bias = torch.zeros(2, 4, 4)
    with pytest.raises(ValueError, match=r"b_out has shape \(2, 4, 4\)"):
        fast_feedforward(torch.zeros(1, 5), layer.w_in, layer.b_in, layer.w_out, 3, 2, b_out=bias)
    with use_kernel("gather"), pytest.raises(ValueError, match="b_out has shape"):
        fast_feedforward(torch.zeros(1, 5), layer.w_in, layer.b_in, layer.w_out, 3, 2, b_out=bias)
