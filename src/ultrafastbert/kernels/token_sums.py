"""Sums over tokens for kernels made of matrix products."""

import torch
from torch import Tensor

# Tokens that one product adds: those of thin matrices add one after the other, and lose digits.
CHUNK_TOKENS = 1024


def sum_products(a: Tensor, b: Tensor) -> Tensor:
    """Return a.T @ b, the sum over tokens of outer products: a (T, m), b (T, n) -> (m, n).

    At least in float32.
    """
    dtype = torch.promote_types(a.dtype, torch.float32)
    total = a.new_zeros(a.shape[1], b.shape[1], dtype=dtype)
    for part, other in zip(a.split(CHUNK_TOKENS), b.split(CHUNK_TOKENS), strict=True):
        total += part.T @ other
    return total
