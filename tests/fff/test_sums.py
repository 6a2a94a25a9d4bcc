"""Sums over many tokens, in every dtype and by every kernel: nothing is lost, nothing overflows."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from kernel_cases import definition, usable

from ultrafastbert import fast_feedforward
from ultrafastbert.fff import tree
from ultrafastbert.fff.spec import logits_dtype
from ultrafastbert.kernels import KERNELS

DTYPES = [torch.float64, torch.float32, torch.bfloat16, torch.float16]
NAMES = ["y", "x", "w_in", "b_in", "w_out", "b_out"]


def many_tokens(n_tokens, n_trees, depth, leaf_size, dtype, seed):
    """Return x, w_in, b_in, w_out, b_out and grad_y in float64, all numbers of `dtype`.

    Terms of a sum have one sign, as those of a bias, so that a sum in low precision would stop
    growing; no decision is near zero.
    """
    generator = torch.Generator().manual_seed(seed)

    def draw(*size):
        return torch.rand(*size, generator=generator, dtype=torch.float64) + 0.5

    rows = tree.n_rows(depth, leaf_size)
    x, grad_y = draw(n_tokens, 8), draw(n_tokens, 16) / 64  # within float16 after 100,000 additions
    x[:, 0] = (x[:, 0] - 1).sign() * x[:, 0] * 2  # what decides
    w_in, w_out = draw(n_trees, rows, 8) / 16, draw(n_trees, rows, 16)
    w_in[..., 0] = 2.0
    b_in, b_out = draw(n_trees, rows) / 8, draw(n_trees, tree.n_leaves(depth), 16)
    return [t.to(dtype).double() for t in (x, w_in, b_in, w_out, b_out, grad_y)]


def with_gradients(function, inputs, dtype, depth, leaf_size, **options):
    *tensors, grad_y = (t.to(dtype) for t in inputs)
    x, w_in, b_in, w_out, b_out = leaves = [t.clone().requires_grad_() for t in tensors]
    # An exact activation: PyTorch's gelu has an error of one sign on some processors.
    y = function(x, w_in, b_in, w_out, depth, leaf_size, "relu", b_out=b_out, **options)
    return [y.detach(), *torch.autograd.grad(y, leaves, grad_y)]


def plain_errors(inputs, exact, dtype, depth, leaf_size):
    """Return plain PyTorch's error of the output and each gradient, the largest of four orders.

    Which order it adds tokens in is chance, and so is the error of few sums.
    """
    errors = []
    for seed in range(4):
        order = torch.randperm(len(inputs[0]), generator=torch.Generator().manual_seed(seed))
        x, *weights, grad_y = inputs
        shuffled = [x[order], *weights, grad_y[order]]
        found = with_gradients(definition, shuffled, dtype, depth, leaf_size)
        y, grad_x, *others = exact
        wanted = [y[order], grad_x[order], *others]
        errors.append([error(*pair) for pair in zip(found, wanted, strict=True)])
    return [max(same) for same in zip(*errors, strict=True)]


def assert_sums_hold(n_tokens, n_trees, depth, leaf_size, dtype, kernel, seed=0):
    """Errors against float64: at most twice plain PyTorch's in the dtype of sums, and roundings.

    One rounding is that of the result; log2(T) are those of the best order of additions. In float64
    the yardstick has such errors itself.
    """
    inputs = many_tokens(n_tokens, n_trees, depth, leaf_size, dtype, seed)
    sizes, sums = {"depth": depth, "leaf_size": leaf_size}, logits_dtype(dtype)
    exact = with_gradients(definition, inputs, torch.float64, **sizes)
    # The dense kernel rounds activations to the dtype between its two products, as PyTorch does.
    plain = plain_errors(inputs, exact, dtype if kernel == "dense" else sums, **sizes)
    got = with_gradients(fast_feedforward, inputs, dtype, kernel=kernel, **sizes)
    roundings = torch.finfo(dtype).eps * (64 if dtype == torch.float64 else 1)
    roundings += math.log2(n_tokens + 1) * torch.finfo(sums).eps
    for name, found, plain_error, wanted in zip(NAMES, got, plain, exact, strict=True):
        scale = wanted.abs().max().item() if wanted.numel() else 0.0
        bound = 2 * plain_error + roundings * scale
        assert found.dtype == dtype
        assert error(found, wanted) <= bound, f"{name}: {error(found, wanted)} > {bound}"


def error(got, exact):
    return (got.double() - exact).abs().max().item() if exact.numel() else 0.0


@settings(max_examples=60, deadline=None)
@given(
    n_tokens=st.one_of(st.integers(0, 70), st.integers(0, 100_000)),
    n_trees=st.integers(1, 2),
    depth=st.integers(0, 3),
    leaf_size=st.integers(1, 3),
    dtype=st.sampled_from(DTYPES),
    seed=st.integers(0, 2**31),
    data=st.data(),
)
def test_sums_over_any_number_of_tokens(n_tokens, n_trees, depth, leaf_size, dtype, seed, data):
    kernel = data.draw(st.sampled_from(usable(depth, dtype)))
    assert_sums_hold(n_tokens, n_trees, depth, leaf_size, dtype, kernel, seed)


@pytest.mark.slow
@pytest.mark.parametrize("depth", [0, 1])
@pytest.mark.parametrize(
    ("dtype", "kernel"), [(dtype, kernel) for dtype in DTYPES for kernel in KERNELS]
)
def test_100_000_tokens_that_share_a_row(dtype, kernel, depth):
    if kernel not in usable(depth, dtype):
        pytest.skip(f"kernel {kernel} does not take {dtype} at depth {depth}")
    assert_sums_hold(100_000, 1, depth, 1, dtype, kernel)
