"""The op: schema, autograd, compile, export, autocast, choice of kernel and errors."""

import pytest
import torch
from kernel_cases import problem, usable

from ultrafastbert import FastFeedForward, fast_feedforward, kernels, use_kernel
from ultrafastbert.fff import tree
from ultrafastbert.fff.quantization import quantize
from ultrafastbert.kernels import choose_kernel


def inputs(depth=3, leaf_size=2, n_trees=2, dtype=torch.float64, n_tokens=6):
    torch.manual_seed(0)
    rows = tree.n_rows(depth, leaf_size)
    return (
        torch.randn(n_tokens, 5, dtype=dtype),
        torch.randn(n_trees, rows, 5, dtype=dtype),
        torch.randn(n_trees, rows, dtype=dtype),
        torch.randn(n_trees, rows, 4, dtype=dtype),
    )


@pytest.mark.parametrize("kernel", usable(3, torch.float64))
@pytest.mark.parametrize("needs_grad", [True, False])
@pytest.mark.filterwarnings("ignore")  # opcheck itself uses deprecated parts of PyTorch
def test_opcheck(kernel, needs_grad):
    tensors = [t.requires_grad_(needs_grad) for t in inputs()]
    torch.library.opcheck(
        torch.ops.ultrafastbert.fast_feedforward.default, (*tensors, 3, 2, "gelu", True, kernel)
    )


@pytest.mark.parametrize("needs_grad", [True, False])
@pytest.mark.filterwarnings("ignore")
def test_opcheck_with_bfloat16_activations(needs_grad):
    tensors = [t.requires_grad_(needs_grad) for t in inputs(dtype=torch.float32)]
    tensors[0] = tensors[0].detach().bfloat16().requires_grad_(needs_grad)
    torch.library.opcheck(
        torch.ops.ultrafastbert.fast_feedforward.default, (*tensors, 3, 2, "gelu", True, "")
    )


@pytest.mark.parametrize("weight_dtype", ["bfloat16", "int8"])
@pytest.mark.filterwarnings("ignore")
def test_opcheck_quantized(weight_dtype):
    x, *weights = inputs(dtype=torch.float32)
    quantized = quantize(*weights, weight_dtype)
    torch.library.opcheck(
        torch.ops.ultrafastbert.fast_feedforward_quantized.default,
        (x, *quantized, 3, 2, "gelu", True),
    )


@pytest.mark.parametrize("kernel", usable(3, torch.float64))
@pytest.mark.parametrize("node_output", [True, False])
def test_gradcheck(kernel, node_output):
    # Steps of 1e-6 do not cross a decision boundary with these inputs.
    tensors = [t.requires_grad_() for t in inputs()]
    torch.autograd.gradcheck(
        lambda *t: fast_feedforward(*t, 3, 2, node_output=node_output, kernel=kernel), tensors
    )


def test_second_derivative_is_refused():
    tensors = [t.requires_grad_() for t in inputs()]
    y = fast_feedforward(*tensors, 3, 2)
    grads = torch.autograd.grad(y.sum(), tensors, create_graph=True)
    with pytest.raises(NotImplementedError, match="second derivative"):
        grads[0].sum().backward()


@pytest.mark.filterwarnings("ignore")  # the compiler's own deprecations
def test_compile_fullgraph_forward_and_backward():
    layer = FastFeedForward(8, depth=3, leaf_size=2, shared_size=3)
    compiled = torch.compile(layer, fullgraph=True, backend="aot_eager")
    x = torch.randn(2, 5, 8, requires_grad=True)
    expected = torch.autograd.grad(layer(x).square().sum(), [x, layer.w_in])
    got = torch.autograd.grad(compiled(x).square().sum(), [x, layer.w_in])
    for a, b in zip(got, expected, strict=True):
        torch.testing.assert_close(a, b)


@pytest.mark.filterwarnings("ignore")
def test_export_with_dynamic_batch():
    layer = FastFeedForward(8, depth=3).eval()
    batch = torch.export.Dim("batch", min=2, max=64)
    program = torch.export.export(layer, (torch.randn(4, 5, 8),), dynamic_shapes=({0: batch},))
    x = torch.randn(7, 5, 8)
    torch.testing.assert_close(program.module()(x), layer(x))


def test_autocast_keeps_the_layer_in_float32():
    layer = FastFeedForward(8, depth=3)
    x = torch.randn(4, 8)
    with torch.autocast("cpu", torch.bfloat16):
        y = layer(x.bfloat16())
    assert y.dtype == torch.float32
    torch.testing.assert_close(y, layer(x.bfloat16().float()))


def test_autocast_does_not_hide_float64():
    x, *weights = inputs()
    weights = [weight.float() for weight in weights]
    with torch.autocast("cpu", torch.bfloat16), pytest.raises(TypeError, match="w_in has dtype"):
        fast_feedforward(x, *weights, 3, 2)


def test_leading_sizes_are_kept():
    x, *weights = inputs()
    y = fast_feedforward(x.view(2, 3, 5), *weights, 3, 2)
    assert y.shape == (2, 3, 4)
    assert torch.equal(y.view(6, 4), fast_feedforward(x, *weights, 3, 2))


def test_use_kernel_applies_inside_only():
    with use_kernel("gather"):
        assert choose_kernel(None, problem(3)).name == "gather"
    assert choose_kernel(None, problem(3)).name == usable(3)[0]


def test_without_the_native_core_it_works_with_one_warning(monkeypatch):
    expected = fast_feedforward(*inputs(), 3, 2, kernel="gather")
    monkeypatch.setattr(kernels.native, "_native", None)
    kernels._warn_that_it_is_missing.cache_clear()
    with pytest.warns(RuntimeWarning, match="without its native core"):
        assert torch.equal(fast_feedforward(*inputs(), 3, 2), expected)
    fast_feedforward(*inputs(), 3, 2)  # warnings are errors here: there is no second one
    with pytest.raises(ValueError, match="kernel='native' is not available"):
        fast_feedforward(*inputs(), 3, 2, kernel="native")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"depth": -1}, "depth=-1"),
        ({"depth": 31}, "depth=31"),
        ({"leaf_size": 0}, "leaf_size=0"),
        ({"depth": 4}, "need 2\\^depth"),
        ({"activation": "swish"}, "activation='swish' is unknown"),
        ({"kernel": "fast"}, "kernel='fast' is unknown"),
        ({"x": torch.zeros(3, 6, dtype=torch.float64)}, "last size must be 5"),
        ({"b_in": torch.zeros(3, dtype=torch.float64)}, "b_in has shape"),
        ({"w_in": torch.zeros(3, 4, dtype=torch.float64)}, "w_in has shape"),
        ({"w_out": torch.zeros(3, 4, dtype=torch.float64)}, "w_out has shape"),
        ({"kernel": "dense"}, "does not take"),
    ],
)
def test_bad_arguments_are_named(change, message):
    x, w_in, b_in, w_out = inputs()
    arguments = {"x": x, "w_in": w_in, "b_in": b_in, "w_out": w_out, "depth": 3, "leaf_size": 2}
    with pytest.raises(ValueError, match=message):
        fast_feedforward(**(arguments | change))


def test_dtypes_must_agree():
    x, *weights = inputs()
    with pytest.raises(TypeError, match="w_in has dtype"):
        fast_feedforward(x.float(), *weights, 3, 2)
    with pytest.raises(TypeError, match="floating"):
        fast_feedforward(x.long(), *weights, 3, 2)


@pytest.mark.parametrize(
    ("sizes", "message"),
    [
        ({"depth": -1}, "depth=-1"),
        ({"hidden_size": 0}, "hidden_size=0"),
        ({"n_trees": 0}, "n_trees=0"),
        ({"leaf_size": 0}, "leaf_size=0"),
        ({"output_size": 0}, "output_size=0"),
        ({"shared_size": -1}, "shared_size=-1"),
        ({"depth": 30, "hidden_size": 4096}, "GiB"),
        ({"kernel": "none"}, "kernel='none'"),
        ({"activation": "none"}, "activation='none'"),
    ],
)
def test_layer_checks_its_sizes(sizes, message):
    with pytest.raises(ValueError, match=message):
        FastFeedForward(**({"hidden_size": 8, "depth": 2} | sizes))


def test_layer_counts_its_neurons():
    layer = FastFeedForward(16, depth=11, shared_size=4)
    assert (layer.n_active, layer.n_neurons) == (16, 4099)
    assert "active=16/4099" in repr(layer)
    assert FastFeedForward(16, depth=3, leaf_size=8, n_trees=2).w_in.shape == (2, 71, 16)
