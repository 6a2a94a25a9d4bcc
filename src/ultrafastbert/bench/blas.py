"""The layer written with BLAS routines (blas_layer.cpp of the core): those of arXiv 2311.10770.

One public BLAS, SciPy's, whose routines are taken from the documented capsules of
`scipy.linalg.cython_blas` and called in a C++ loop, forward only, on one thread. What the levels
mean for a tree, where the paper leaves it open:

1. sdot for each neuron that a token visits, saxpy for the row that it adds: token by token.
2. The tokens that reach a node are copied side by side and multiplied with its row of w_in by one
   sgemv; what they add to their outputs is one sger. A leaf of one neuron likewise; a block of
   several is an sgemv per token. A gather of rows is no gemv, so a token alone gains nothing here.
3. As 2, but a leaf's block for all tokens that reach it, by sgemm. With leaves of one neuron there
   is no block, hence no level 3: the paper has none either.

A dense layer is one block: sdot and saxpy, sgemv per token, or sgemm. The GELU is the native
kernel's exact one everywhere. The BLAS of the paper's authors was MKL, which is not redistributed
with SciPy.
"""

import ctypes
from collections.abc import Callable
from contextlib import AbstractContextManager
from functools import cache

import torch
from scipy.linalg import cython_blas
from threadpoolctl import threadpool_limits
from torch import Tensor

from ultrafastbert.fff.dense import FeedForward
from ultrafastbert.fff.layer import FastFeedForward

try:
    from ultrafastbert_runtime import _native_bench
except ImportError:
    _native_bench = None  # type: ignore[assignment]

LEVELS = (1, 2, 3)
NO_LEVEL_3 = "leaves of one neuron are no matrix: the paper has no level 3 for them either"
_ROUTINES = ("sdot", "saxpy", "sgemv", "sger", "sgemm")

Route = Callable[[Tensor], tuple[Tensor, Tensor]]  # x (T, H) -> y (T, O), leaf (T, K)


def is_available() -> bool:
    """Return whether the benchmarks' C++, which holds the loops, was built with the package."""
    return _native_bench is not None


def name(level: int) -> str:
    """Return the name of a level's implementations in result rows: blas1, blas2, blas3."""
    return f"blas{level}"


def one_thread() -> AbstractContextManager:
    """Return a context in which BLAS libraries use one thread; PyTorch's own threads stay."""
    return threadpool_limits(1, user_api="blas")


def fast_forward(level: int, layer: FastFeedForward) -> Route:
    """Return a function x (T, H) -> y (T, O), leaf (T, K) for a float32 layer with GELU."""
    if layer.activation != "gelu" or not layer.node_output or layer.shared is not None:
        raise ValueError("BLAS levels are for GELU, node_output=True and shared_size=0")
    sizes = (layer.n_trees, layer.depth, layer.leaf_size)
    return _forward(level, sizes, layer.w_in, layer.b_in, layer.w_out)


def dense_forward(level: int, layer: FeedForward) -> Callable[[Tensor], Tensor]:
    """Return a function x (T, H) -> y (T, O) for a dense float32 layer without biases."""
    w_in = layer.dense_in.weight
    w_out = layer.dense_out.weight.detach().t().contiguous()  # (N, O): a neuron is one row
    forward = _forward(level, (1, 0, len(w_in)), w_in, torch.zeros(len(w_in)), w_out)
    return lambda x: forward(x)[0]


def _forward(
    level: int, sizes: tuple[int, int, int], w_in: Tensor, b_in: Tensor, w_out: Tensor
) -> Route:
    weights = [w.detach() for w in (w_in, b_in, w_out)]
    all_sizes = [*sizes, w_in.shape[-1], w_out.shape[-1]]

    def run(x: Tensor) -> tuple[Tensor, Tensor]:
        y = x.new_empty(len(x), all_sizes[-1])
        leaf = x.new_empty(len(x), sizes[0], dtype=torch.int64)
        addresses = [tensor.data_ptr() for tensor in (x, *weights, y, leaf)]
        _native_bench.blas_forward(_addresses(), level, all_sizes, len(x), *addresses)
        return y, leaf

    return run


@cache
def _addresses() -> list[int]:
    """Return the addresses of the routines, Fortran convention, 32-bit integers."""
    get_name = ctypes.pythonapi.PyCapsule_GetName
    get_name.restype, get_name.argtypes = ctypes.c_char_p, [ctypes.py_object]
    get_pointer = ctypes.pythonapi.PyCapsule_GetPointer
    get_pointer.restype, get_pointer.argtypes = ctypes.c_void_p, [ctypes.py_object, ctypes.c_char_p]
    capsules = [cython_blas.__pyx_capi__[routine] for routine in _ROUTINES]
    return [get_pointer(capsule, get_name(capsule)) for capsule in capsules]
