"""Transforms of functions: batched gradients, vmap, forward mode, second derivatives."""

import pytest
import torch
from kernel_cases import usable
from torch.autograd import forward_ad
from torch.autograd.functional import jacobian
from torch.func import functional_call, hessian, jacfwd, jacrev, jvp, stack_module_state, vjp, vmap
from torch.func import grad as grad_of

from ultrafastbert import FastFeedForward, fast_feedforward, visited_leaves
from ultrafastbert.fff import tree
from ultrafastbert.fff.quantization import dequantize
from ultrafastbert.fff.reference import fast_feedforward_reference
from ultrafastbert.fff.spec import TreeSpec

# PyTorch's forward mode is made of scripts.
pytestmark = pytest.mark.filterwarnings("ignore:`torch.jit:DeprecationWarning")

SIZES = {"depth": 3, "leaf_size": 2}
NAMES = usable(3, torch.float64)


@pytest.fixture
def layer():
    torch.manual_seed(0)
    options = {"n_trees": 2, "output_size": 4, "leaf_output_bias": True, "dtype": torch.float64}
    made = FastFeedForward(5, **SIZES, **options)
    torch.nn.init.normal_(made.b_out)
    return made


@pytest.fixture
def x():
    return torch.randn(6, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(1))


def definition(layer, x):
    """Return the layer by the masked definition, which PyTorch differentiates by itself."""
    weights = (layer.w_in, layer.b_in, layer.w_out)
    flat = x.reshape(-1, 5)
    return fast_feedforward_reference(flat, *weights, TreeSpec(**SIZES), layer.b_out).view(
        *x.shape[:-1], 4
    )


@pytest.mark.parametrize("kernel", NAMES)
def test_batched_gradients(layer, x, kernel):
    layer.kernel = kernel
    tensors = [x.requires_grad_(), layer.w_in, layer.b_in, layer.w_out, layer.b_out]
    directions = torch.randn(3, 6, 4, dtype=torch.float64)
    options = {"is_grads_batched": True}
    got = torch.autograd.grad(layer(x), tensors, directions, **options)
    expected = torch.autograd.grad(definition(layer, x), tensors, directions, **options)
    for pair in zip(got, expected, strict=True):
        torch.testing.assert_close(*pair)


@pytest.mark.parametrize("kernel", NAMES)
@pytest.mark.parametrize("strategy", ["reverse-mode", "forward-mode"])
def test_vectorized_jacobian(layer, x, kernel, strategy):
    layer.kernel = kernel
    got = jacobian(layer, x, vectorize=True, strategy=strategy)
    torch.testing.assert_close(got, jacobian(lambda x: definition(layer, x), x))


@pytest.mark.parametrize("transform", [jacrev, jacfwd, hessian, lambda f: jacrev(jacrev(f))])
def test_derivatives_of_any_order(layer, x, transform):
    got = transform(lambda x: layer(x).square().sum())(x)
    torch.testing.assert_close(got, transform(lambda x: definition(layer, x).square().sum())(x))


@pytest.mark.parametrize("with_grad", [True, False])
def test_forward_mode(layer, x, with_grad):
    tangent = torch.randn_like(x)
    expected = jvp(lambda x: definition(layer, x), (x,), (tangent,))
    with torch.set_grad_enabled(with_grad):
        layer(x), layer(x)  # from now on, the fast path would be taken
        for got, wanted in zip(jvp(layer, (x,), (tangent,)), expected, strict=True):
            torch.testing.assert_close(got, wanted)
        with forward_ad.dual_level():
            y = forward_ad.unpack_dual(layer(forward_ad.make_dual(x, tangent)))
    torch.testing.assert_close(y.primal, expected[0])
    torch.testing.assert_close(y.tangent, expected[1])


def test_forward_mode_through_weights(layer, x):
    weights = dict(layer.named_parameters())
    tangents = {name: torch.randn_like(weight) for name, weight in weights.items()}
    _, got = jvp(lambda w: functional_call(layer, w, (x,)), (weights,), (tangents,))
    w_in, b_in, w_out, b_out = (weights[name] for name in ("w_in", "b_in", "w_out", "b_out"))

    def by_definition(w_in, b_in, w_out, b_out):
        return fast_feedforward_reference(x, w_in, b_in, w_out, TreeSpec(**SIZES), b_out)

    ordered = tuple(tangents[name] for name in ("w_in", "b_in", "w_out", "b_out"))
    torch.testing.assert_close(got, jvp(by_definition, (w_in, b_in, w_out, b_out), ordered)[1])


def test_a_tangent_of_the_gradient_is_refused(layer, x):
    y = layer(x.requires_grad_())
    with forward_ad.dual_level():
        direction = forward_ad.make_dual(torch.ones_like(y), torch.ones_like(y))
        with pytest.raises(NotImplementedError, match="no second derivative"):
            torch.autograd.grad(y, x, direction)


@pytest.mark.parametrize("dim", [0, 1])
@pytest.mark.parametrize("with_grad", [True, False])
def test_vmap_over_tokens(layer, x, dim, with_grad):
    batch = torch.randn(3, 6, 5, dtype=torch.float64)
    with torch.set_grad_enabled(with_grad):
        got = vmap(layer, in_dims=dim, out_dims=dim)(batch.movedim(0, dim))
    torch.testing.assert_close(got.movedim(dim, 0), layer(batch))


def test_gradients_of_each_token_and_of_a_pullback(layer, x):
    weights = dict(layer.named_parameters())

    def loss(weights, token):
        return functional_call(layer, weights, (token,)).square().sum()

    got = vmap(grad_of(loss), in_dims=(None, 0))(weights, x)
    for i, token in enumerate(x):
        expected = torch.autograd.grad(layer(token).square().sum(), list(weights.values()))
        for name, gradient in zip(weights, expected, strict=True):
            torch.testing.assert_close(got[name][i], gradient)
    y, pull = vjp(layer, x)
    x.requires_grad_()
    torch.testing.assert_close(pull(y)[0], torch.autograd.grad(layer(x), x, y)[0])


@pytest.mark.parametrize("with_grad", [True, False])
def test_ensembles(x, with_grad):
    models = [FastFeedForward(5, **SIZES, dtype=torch.float64) for _ in range(3)]
    stacked = stack_module_state(models)
    with torch.set_grad_enabled(with_grad):
        for _ in range(2):
            got = vmap(
                lambda p, b, x: functional_call(models[0], (p, b), (x,)), in_dims=(0, 0, None)
            )(*stacked, x)
        torch.testing.assert_close(got, torch.stack([model(x) for model in models]))


def test_leaves_within_vmap(layer, x):
    found = vmap(lambda token: visited_leaves(token, layer.w_in, layer.b_in, **SIZES))(x)
    assert torch.equal(found, layer.visited_leaves(x))


@pytest.mark.parametrize("weight_dtype", ["bfloat16", "int8"])
def test_quantized_weights(x, weight_dtype):
    layer = FastFeedForward(5, **SIZES, weight_dtype=weight_dtype)
    w_in, b_in, w_out = dequantize(layer.weights())
    x = x.float()

    def plain(x):
        return fast_feedforward(x, w_in, b_in, w_out, **SIZES)

    with torch.no_grad():
        assert torch.equal(vmap(layer)(x), layer(x))
        for _ in range(2):
            torch.testing.assert_close(jvp(layer, (x,), (x,)), jvp(plain, (x,), (x,)))
    for call in (layer, vmap(layer)):
        got = grad_of(lambda x, call=call: call(x).square().sum())(x)
        torch.testing.assert_close(got, grad_of(lambda x: plain(x).square().sum())(x))
    twice = jvp(lambda x: jvp(layer, (x,), (x,))[1], (x,), (x,))
    torch.testing.assert_close(twice, jvp(lambda x: jvp(plain, (x,), (x,))[1], (x,), (x,)))


COMPILED = {
    "jvp": lambda f: lambda x: jvp(f, (x,), (x,))[1],
    "jacfwd": jacfwd,
    "grad": lambda f: grad_of(lambda x: f(x).square().sum()),
    "hessian": lambda f: hessian(lambda x: f(x).square().sum()),
    "vmap": vmap,
    "gradients of each token": lambda f: vmap(grad_of(lambda x: f(x).square().sum())),
}


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # the compiler's own deprecations
@pytest.mark.parametrize("transform", COMPILED.values(), ids=COMPILED)
@pytest.mark.parametrize("whole", [True, False])
def test_compiled_transforms(layer, x, transform, whole):
    torch.compiler.reset()
    expected = transform(layer)(x)
    if whole:
        got = torch.compile(transform(layer), fullgraph=True, backend="aot_eager")(x)
    else:
        compiled = torch.compile(layer, backend="aot_eager")
        torch.testing.assert_close(compiled(x), layer(x))  # what is compiled here is not kept
        got = transform(compiled)(x)
    torch.testing.assert_close(got, expected)


def test_rows_not_visited_have_no_influence(layer, x):
    rows = tree.path_rows(layer.visited_leaves(x[:1]), **SIZES)[0]  # (K, S)
    expected = jvp(layer, (x[:1],), (x[:1],))
    for weight in (layer.w_in, layer.b_in, layer.w_out):
        for k in range(2):
            others = torch.ones(weight.shape[1], dtype=torch.bool)
            others[rows[k]] = False
            weight.data[k, others] = float("nan")
    torch.testing.assert_close(jvp(layer, (x[:1],), (x[:1],)), expected)


def test_vmap_over_biases_of_leaves(layer, x):
    biases = torch.randn(3, *layer.b_out.shape, dtype=torch.float64)

    def call(b_out):
        return fast_feedforward(x, layer.w_in, layer.b_in, layer.w_out, **SIZES, b_out=b_out)

    torch.testing.assert_close(vmap(call)(biases), torch.stack([call(b) for b in biases]))


def test_a_batch_of_no_entries(layer):
    tokens = torch.zeros(0, 6, 5, dtype=torch.float64)
    with torch.no_grad(), pytest.raises(ValueError, match="at least one entry"):
        vmap(
            lambda x: torch.ops.ultrafastbert.fast_feedforward(
                x, layer.w_in, layer.b_in, layer.w_out, 3, 2, "gelu", True, ""
            )
        )(tokens)


def test_autocast_and_low_precision(layer, x):
    layer, x = layer.float(), x.float()
    with torch.autocast("cpu", torch.bfloat16):
        y = vmap(layer)(x.bfloat16())
    assert y.dtype == torch.float32
    torch.testing.assert_close(y, layer(x.bfloat16().float()))
    x, wide = x.double(), layer.double()
    with torch.autocast("cpu", torch.bfloat16):
        assert jvp(wide, (x,), (x,))[1].dtype == torch.float64
    low = [t.detach().to(torch.float16) for t in (x, layer.w_in, layer.b_in, layer.w_out)]
    y, tangent = jvp(lambda x: fast_feedforward(x, *low[1:], **SIZES), (low[0],), (low[0],))
    assert y.dtype == tangent.dtype == torch.float16
    torch.testing.assert_close(y, fast_feedforward(*low, **SIZES))


def test_bad_input_is_named_within_transforms(layer, x):
    with pytest.raises(ValueError, match="last size must be 5"):
        vmap(layer)(x[:, :4])
