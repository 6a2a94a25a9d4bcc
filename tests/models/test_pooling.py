"""Pooling many tokens, in every dtype: a mean is a mean, whatever its sum."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ultrafastbert.models.bert.pooling import POOLERS, normalized, pool

DTYPES = [torch.float64, torch.float32, torch.bfloat16, torch.float16]


@pytest.mark.parametrize("with_mask", [True, False])
@pytest.mark.parametrize("n_tokens", [8192, 70_000])
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("pooling", ["mean", "avg", "max", "first", "cls"])
def test_a_long_constant_stays_what_it_is(pooling, dtype, n_tokens, with_mask):
    states = torch.full((1, n_tokens, 4), 12.0, dtype=dtype)
    mask = torch.ones(1, n_tokens, dtype=torch.int64) if with_mask else None
    pooled = pool(states, mask, pooling)
    assert pooled.dtype == dtype
    assert pooled.tolist() == [[12.0] * 4]


@settings(max_examples=60, deadline=None)
@given(
    n_tokens=st.one_of(st.integers(1, 40), st.integers(1, 100_000)),
    pooling=st.sampled_from(POOLERS),
    dtype=st.sampled_from(DTYPES),
    padded=st.booleans(),
    seed=st.integers(0, 2**31),
)
def test_pooling_any_number_of_tokens(n_tokens, pooling, dtype, padded, seed):
    generator = torch.Generator().manual_seed(seed)
    states = (torch.rand(2, n_tokens, 3, generator=generator) * 40).to(dtype).requires_grad_()
    mask = torch.ones(2, n_tokens, dtype=torch.int64)
    mask[0, n_tokens // 2 + 1 :] = not padded
    exact = states.detach().double().requires_grad_()
    pooled, wanted = pool(states, mask, pooling), pool(exact, mask, pooling)
    assert pooled.dtype == dtype
    roundings = torch.finfo(dtype).eps + 32 * torch.finfo(torch.float32).eps
    torch.testing.assert_close(pooled.double(), wanted, rtol=roundings, atol=0)
    pooled.sum().backward()
    wanted.sum().backward()
    largest = exact.grad.abs().max().item()
    # The derivative of a log of a sum of exponentials is a ratio of two of them.
    least = max(roundings * largest, torch.finfo(dtype).tiny) * 4
    torch.testing.assert_close(states.grad.double(), exact.grad, rtol=8 * roundings, atol=least)


def test_a_mask_without_any_token():
    states = torch.ones(1, 5, 3, dtype=torch.float16)
    assert pool(states, torch.zeros(1, 5), "mean").tolist() == [[0.0] * 3]


@pytest.mark.parametrize("size", [1e-6, 1.0, 300.0, 60_000.0])
@pytest.mark.parametrize("dtype", DTYPES)
def test_normalized_vectors_have_length_one(dtype, size):
    vectors = torch.full((2, 384), size, dtype=torch.float64).to(dtype)
    lengths = normalized(vectors).double().norm(dim=-1)
    torch.testing.assert_close(lengths, torch.ones(2).double(), rtol=0, atol=2e-2)
    assert normalized(torch.zeros(2, 384, dtype=dtype)).tolist() == [[0.0] * 384] * 2
