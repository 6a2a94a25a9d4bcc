"""Every kernel of the table against the reference: paths, outputs and all gradients."""

import itertools

import pytest
import torch
from kernel_cases import definition, usable

from ultrafastbert import fast_feedforward, use_kernel, visited_leaves
from ultrafastbert.fff import tree
from ultrafastbert.fff.activations import ACTIVATIONS
from ultrafastbert.fff.reference import all_logits, route
from ultrafastbert.kernels import KERNELS

# (T, H, O, K, D, L): odd sizes, no token, one token, depth 0, several trees, leaf blocks.
SHAPES = [
    (0, 3, 3, 1, 2, 1),
    (1, 1, 1, 1, 1, 1),
    (1, 768, 768, 1, 11, 1),
    (5, 3, 2, 2, 0, 1),
    (5, 3, 7, 1, 0, 5),
    (7, 63, 63, 3, 2, 1),
    (33, 63, 5, 1, 5, 3),
    (130, 16, 48, 2, 3, 8),
    (65, 768, 768, 1, 6, 1),
    (300, 31, 33, 1, 4, 33),
]
NAMES = ["x", "w_in", "b_in", "w_out"]


CASES = [
    (shape, dtype, name)
    for shape, dtype in itertools.product(SHAPES, [torch.float32, torch.float64])
    for name in usable(shape[4], dtype)
]


def random_inputs(shape, dtype, seed=0):
    n_tokens, hidden, output, n_trees, depth, leaf_size = shape
    rows = tree.n_rows(depth, leaf_size)
    generator = torch.Generator().manual_seed(seed)

    def draw(*size):
        return torch.randn(*size, generator=generator, dtype=torch.float64)

    x = draw(n_tokens, hidden)
    w_in, b_in = draw(n_trees, rows, hidden) / hidden**0.5, draw(n_trees, rows) * 0.1
    w_out, grad_y = draw(n_trees, rows, output), draw(n_tokens, output)
    clear = keep_clear_decisions(x, w_in, b_in, depth)
    inputs = (x[clear], w_in, b_in, w_out, grad_y[clear])
    return [t.to(dtype).to(torch.float64) for t in inputs]


def keep_clear_decisions(x, w_in, b_in, depth, margin=1e-4):
    """Return the tokens none of whose node logits is so near zero that rounding could flip it."""
    logits = all_logits(x, w_in, b_in)[..., : tree.n_nodes(depth)]
    return (logits.abs() > margin).all(-1).all(-1) if depth else torch.ones(len(x), dtype=bool)


def gradients(function, inputs, dtype, **options):
    *tensors, grad_y = (t.to(dtype) for t in inputs)
    leaves = [t.clone().requires_grad_() for t in tensors]
    y = function(*leaves, **options)
    return [y.detach(), *torch.autograd.grad(y, leaves, grad_y)]


def assert_within_rule(got, plain_error, exact, name):
    """Error against float64 at most twice plain PyTorch's in the same dtype, plus one rounding.

    In float64 plain PyTorch is the yardstick itself, so the sums' own rounding is allowed for.
    """
    scale = exact.abs().max().item() if exact.numel() else 0.0
    roundings = 64 if got.dtype == torch.float64 else 1
    bound = 2 * plain_error + roundings * torch.finfo(got.dtype).eps * scale
    assert error(got, exact) <= bound, f"{name}: {error(got, exact)} > {bound}"


def plain_errors(inputs, exact, dtype, **options):
    """Return plain PyTorch's error of the output and each gradient, the largest of several.

    Which order it adds in is chance, and so is the error of few sums: columns come in four orders.
    """
    x, w_in, *rest = inputs
    y, grad_x, grad_w_in, *others = exact
    columns = torch.arange(x.shape[-1])
    shuffled = columns[torch.randperm(len(columns), generator=torch.Generator().manual_seed(0))]
    errors = []
    for order in (columns, columns.flip(0), shuffled, shuffled.flip(0)):
        ordered = [x[..., order], w_in[..., order], *rest]
        found = gradients(definition, ordered, dtype, **options)
        wanted = [y, grad_x[..., order], grad_w_in[..., order], *others]
        errors.append([error(*pair) for pair in zip(found, wanted, strict=True)])
    return [max(same) for same in zip(*errors, strict=True)]


def error(got, exact):
    return (got.double() - exact).abs().max().item() if exact.numel() else 0.0


@pytest.mark.slow
@pytest.mark.parametrize("node_output", [True, False])
@pytest.mark.parametrize(("shape", "dtype", "kernel"), CASES)
def test_output_and_gradients_equal_the_reference(shape, dtype, kernel, node_output):
    options = {"depth": shape[4], "leaf_size": shape[5], "node_output": node_output}
    inputs = random_inputs(shape, dtype)
    exact = gradients(definition, inputs, torch.float64, **options)
    plain = plain_errors(inputs, exact, dtype, **options)
    got = gradients(fast_feedforward, inputs, dtype, kernel=kernel, **options)
    for name, *found in zip(["y", *NAMES], got, plain, exact, strict=True):
        assert_within_rule(*found, name)


@pytest.mark.parametrize("weight_dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("kernel", [name for name in KERNELS if name != "dense"])
def test_bfloat16_activations(kernel, shape, weight_dtype):
    if kernel not in usable(shape[4], torch.bfloat16):
        pytest.skip(f"kernel {kernel} is not available")
    inputs = [t.bfloat16() for t in random_inputs(shape, torch.float32)]
    logits = all_logits(*(t.double() for t in inputs[:3]))[..., : tree.n_nodes(shape[4])]
    clear = (logits.abs() > 5e-2).all(-1).all(-1)  # in bfloat16 the others may go either way
    inputs[0], inputs[4] = inputs[0][clear], inputs[4][clear]
    options = {"depth": shape[4], "leaf_size": shape[5]}
    exact = gradients(definition, inputs, torch.float64, **options)
    x, *weights, grad_y = inputs
    leaves = [x.requires_grad_(), *(w.to(weight_dtype).requires_grad_() for w in weights)]
    y = fast_feedforward(*leaves, kernel=kernel, **options)
    got = [y.detach(), *torch.autograd.grad(y, leaves, grad_y)]
    dtypes = [torch.bfloat16] * 2 + [weight_dtype] * 3
    for tensor, wanted, dtype in zip(got, exact, dtypes, strict=True):
        assert tensor.dtype == dtype
        error = (tensor.double() - wanted).norm() / wanted.norm().clamp(min=1e-30)
        plain = kernel != "native" and weight_dtype == torch.bfloat16  # sums are rounded, too
        assert error < (3e-2 if plain else 1e-5 if dtype == torch.float32 else 2**-8)


@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("kernel", usable(3, torch.float32))
def test_every_activation(kernel, dtype, activation):
    options = {"depth": 3, "leaf_size": 2, "activation": activation}
    inputs = random_inputs((200, 24, 8, 2, 3, 2), dtype)
    inputs[0] = inputs[0] * 3  # tails of the activations too
    exact = gradients(definition, inputs, torch.float64, **options)
    plain = plain_errors(inputs, exact, dtype, **options)
    got = gradients(fast_feedforward, inputs, dtype, kernel=kernel, **options)
    for name, *found in zip(["y", *NAMES], got, plain, exact, strict=True):
        assert_within_rule(*found, name)


@pytest.mark.parametrize(("shape", "dtype", "kernel"), CASES)
def test_integer_inputs_take_identical_paths(shape, dtype, kernel):
    n_tokens, hidden, _, n_trees, depth, leaf_size = shape
    rows = tree.n_rows(depth, leaf_size)
    generator = torch.Generator().manual_seed(1)

    def draw(*size):
        return torch.randint(-3, 4, size, generator=generator).to(dtype)

    x, w_in, b_in = draw(n_tokens, hidden), draw(n_trees, rows, hidden), draw(n_trees, rows)
    with use_kernel(kernel):
        leaf = visited_leaves(x, w_in, b_in, depth, leaf_size)
    assert torch.equal(leaf, route(all_logits(x, w_in, b_in), depth))


@pytest.mark.parametrize("kernel", usable(2, torch.float32))
def test_zero_and_nan_go_left(kernel):
    rows = tree.n_rows(2, 1)
    w_in, b_in = torch.ones(1, rows, 2), torch.zeros(1, rows)
    x = torch.tensor([[0.0, 0.0], [float("nan"), 0.0], [1.0, 0.0]])
    with use_kernel(kernel):
        assert visited_leaves(x, w_in, b_in, 2).flatten().tolist() == [0, 0, 3]


@pytest.mark.parametrize("kernel", usable(3, torch.float32))
def test_rows_not_visited_have_no_influence(kernel):
    *tensors, _ = random_inputs((9, 8, 8, 1, 3, 2), torch.float32)
    x, w_in, b_in, w_out = (t.float() for t in tensors)
    rows = tree.path_rows(visited_leaves(x[:1], w_in, b_in, 3, 2), 3, 2).flatten()
    mask = torch.ones(w_in.shape[1], dtype=bool)
    mask[rows] = False
    before = fast_feedforward(x[:1], w_in, b_in, w_out, 3, 2, kernel=kernel)
    w_in[:, mask] = float("nan")
    w_out[:, mask] = float("nan")
    if kernel == "masked":  # multiplies by zero, and NaN times zero is NaN
        w_out[:, mask] = 0.0
    after = fast_feedforward(x[:1], w_in, b_in, w_out, 3, 2, kernel=kernel)
    assert torch.equal(before, after)


@pytest.mark.parametrize("kernel", usable(3, torch.float32))
def test_inputs_need_not_be_contiguous(kernel):
    shape = (11, 6, 10, 2, 3, 2)
    inputs = random_inputs(shape, torch.float32)
    strided = [t.transpose(0, -1).contiguous().transpose(0, -1) for t in inputs]
    assert not strided[0].is_contiguous()
    options = {"depth": 3, "leaf_size": 2, "kernel": kernel}
    expected = gradients(fast_feedforward, inputs, torch.float32, **options)
    got = gradients(fast_feedforward, strided, torch.float32, **options)
    assert all(torch.equal(a, b) for a, b in zip(got, expected, strict=True))


@pytest.mark.parametrize("kernel", usable(3, torch.float32))
@pytest.mark.parametrize("needed", NAMES)
def test_gradients_only_where_required(kernel, needed):
    inputs = random_inputs((13, 9, 4, 2, 3, 2), torch.float32)
    all_gradients = gradients(
        fast_feedforward, inputs, torch.float32, depth=3, leaf_size=2, kernel=kernel
    )
    *tensors, grad_y = (t.float() for t in inputs)
    index = NAMES.index(needed)
    tensors[index].requires_grad_()
    y = fast_feedforward(*tensors, depth=3, leaf_size=2, kernel=kernel)
    (grad,) = torch.autograd.grad(y, [tensors[index]], grad_y)
    torch.testing.assert_close(grad, all_gradients[1 + index], rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_low_precision_runs_on_the_gather_kernel(dtype):
    *tensors, _ = random_inputs((20, 16, 16, 1, 3, 2), dtype)
    exact = definition(*tensors, depth=3, leaf_size=2)
    got = fast_feedforward(*(t.to(dtype) for t in tensors), depth=3, leaf_size=2)
    assert got.dtype == dtype
    margin = keep_clear_decisions(*tensors[:3], 3, margin=0.1)
    torch.testing.assert_close(got[margin].double(), exact[margin], rtol=0.1, atol=0.1)
