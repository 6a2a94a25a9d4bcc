"""Kernel `native`: the C++ core for CPUs (csrc/), float32 and float64.

The only file that imports `ultrafastbert._native`. The instruction set is chosen at the first call;
the environment variable ULTRAFASTBERT_ISA overrides the choice. Results do not depend on the number
of threads, which is that of PyTorch, bit for bit.
"""

from typing import Any

import torch
from torch import Tensor

from ultrafastbert.activations import ACTIVATIONS

try:
    from ultrafastbert import _native  # type: ignore[attr-defined]
except ImportError:
    _native = None

# In the order of `enum class Activation` in csrc/fff.h.
_ACTIVATION_NUMBERS = {name: number for number, name in enumerate(ACTIVATIONS)}


def is_available() -> bool:
    """Return whether the native core was built with the package."""
    return _native is not None


def supports(device_type: str, dtype: torch.dtype, depth: int) -> bool:
    """Return True for float32 and float64 on CPUs, at any depth."""
    return device_type == "cpu" and dtype in (torch.float32, torch.float64)


def instruction_set() -> str:
    """Return the name of the instruction set in use.

    Raises ValueError if ULTRAFASTBERT_ISA names none of `available_instruction_sets()`.
    """
    return _native.instruction_set()


def available_instruction_sets() -> list[str]:
    """Return the instruction sets that are built in and that this processor has, best first."""
    return _native.available_instruction_sets()


def forward(
    x: Tensor,
    w_in: Tensor,
    b_in: Tensor,
    w_out: Tensor,
    depth: int,
    leaf_size: int,
    activation: str,
    node_output: bool,
) -> tuple[Tensor, Tensor, Tensor]:
    """Compute the layer; see `ultrafastbert.kernels` for shapes."""
    n_tokens, n_trees = x.shape[0], w_in.shape[0]
    y = x.new_empty(n_tokens, w_out.shape[2])
    leaf = x.new_empty(n_tokens, n_trees, dtype=torch.int64)
    logits = x.new_empty(n_tokens, n_trees, depth + leaf_size)
    shape = _shape(x, w_out, depth, leaf_size, activation, node_output)
    run = _native.forward_float32 if x.dtype == torch.float32 else _native.forward_float64
    run(shape, *_addresses(x, w_in, b_in, w_out, y, leaf, logits))
    return y, leaf, logits


def backward(
    grad_y: Tensor,
    x: Tensor,
    w_in: Tensor,
    w_out: Tensor,
    leaf: Tensor,
    logits: Tensor,
    depth: int,
    leaf_size: int,
    activation: str,
    node_output: bool,
    needs: tuple[bool, bool, bool, bool],
) -> tuple[Tensor | None, Tensor | None, Tensor | None, Tensor | None]:
    """Compute the gradients; see `ultrafastbert.kernels` for shapes."""
    grad_x = torch.empty_like(x) if needs[0] else None
    grad_w_in = torch.empty_like(w_in) if needs[1] else None
    grad_b_in = w_in.new_empty(w_in.shape[:2]) if needs[2] else None
    grad_w_out = torch.empty_like(w_out) if needs[3] else None
    shape = _shape(x, w_out, depth, leaf_size, activation, node_output)
    run = _native.backward_float32 if x.dtype == torch.float32 else _native.backward_float64
    gradients = (grad_x, grad_w_in, grad_b_in, grad_w_out)
    run(shape, *_addresses(grad_y, x, w_in, w_out, leaf, logits, *gradients))
    return gradients


def _shape(
    x: Tensor, w_out: Tensor, depth: int, leaf_size: int, activation: str, node_output: bool
) -> Any:
    n_tokens, hidden_size = x.shape
    n_trees, _, output_size = w_out.shape
    number, n_threads = _ACTIVATION_NUMBERS[activation], torch.get_num_threads()
    sizes = (n_tokens, hidden_size, output_size, n_trees, depth, leaf_size)
    return _native.Shape(*sizes, number, node_output, n_threads)


def _addresses(*tensors: Tensor | None) -> list[int]:
    return [0 if tensor is None else tensor.data_ptr() for tensor in tensors]
