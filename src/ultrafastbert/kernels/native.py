"""Kernel `native`: the C++ core for CPUs, in `ultrafastbert-runtime`.

The only file that imports `ultrafastbert_runtime._native`. Activations are float32, bfloat16 or
float64; weights are float32 or bfloat16 (float64 for float64), and for inference also int8. The
instruction set is chosen at the first call; the environment variable ULTRAFASTBERT_ISA overrides
the choice. Results do not depend on the number of threads, which is that of PyTorch, bit for bit.
"""

from functools import cache, partial
from typing import Any

import torch
from torch import Tensor, get_num_threads, is_grad_enabled, nn

from ultrafastbert.fff import transforms
from ultrafastbert.fff.activations import ACTIVATIONS
from ultrafastbert.fff.leaf_bias import add_leaf_bias
from ultrafastbert.fff.quantization import Weights
from ultrafastbert.fff.spec import TreeSpec, logits_dtype
from ultrafastbert.kernels.base import (
    Gradients,
    Kernel,
    Needs,
    Output,
    Prepared,
    PreparingKernel,
    Problem,
    QuantizedKernel,
)

try:
    from ultrafastbert_runtime import _native
except ImportError:
    _native = None  # type: ignore[assignment]

# Where types of tensors have DLPack's table of C functions, see binding/tensor.h of the core.
EXCHANGE_TABLE = "__dlpack_c_exchange_api__"
DTYPES = (torch.float32, torch.float64, torch.bfloat16)  # of activations
# Whether something traces, or sees every operator: the public ways to ask are slow or none.
is_tracing, n_modes = torch._C._is_tracing, torch._C._len_torch_dispatch_stack
_DTYPES = (torch.float32, torch.float64, torch.bfloat16, torch.int8)
# The core's enumerations by our names for their values; without the core nothing asks.
_ACTIVATIONS = {name: _native.Activation[name] for name in ACTIVATIONS if _native}
_TYPES = {dtype: _native.Type[str(dtype).removeprefix("torch.")] for dtype in _DTYPES if _native}


class NativeKernel(QuantizedKernel, PreparingKernel):
    """The kernel of the native core; also for quantized weights, and prepared for inference."""

    name = "native"

    def why_unavailable(self) -> str:
        """Return how to get the native core, where the package was built without it."""
        if _native is not None:
            return ""
        return (
            "ultrafastbert-runtime was installed without its native core; reinstall it where there "
            "is a C++17 compiler"
        )

    def is_available(self) -> bool:
        """Return whether the native core was built with the package."""
        return _native is not None

    def supports(self, problem: Problem) -> bool:
        """Return True for float32, float64 and bfloat16 activations on CPUs, of any sizes."""
        return problem.device_type == "cpu" and problem.dtype in DTYPES

    def forward(
        self, x: Tensor, w_in: Tensor, b_in: Tensor, w_out: Tensor, spec: TreeSpec
    ) -> Output:
        """Compute the layer, see `Kernel.forward`."""
        n_tokens, n_trees = x.shape[0], w_in.shape[0]
        y = x.new_empty(n_tokens, w_out.shape[2])
        leaf = x.new_empty(n_tokens, n_trees, dtype=torch.int64)
        b_in = b_in.to(logits_dtype(x.dtype))
        logits = b_in.new_empty(n_tokens, n_trees, spec.n_slots)
        layer = _layer(x.dtype, Weights(w_in, b_in, w_out), spec)
        layer.forward(n_tokens, get_num_threads(), *_addresses(x, y, leaf, logits))
        return y, leaf, logits

    def backward(
        self,
        grad_y: Tensor,
        x: Tensor,
        w_in: Tensor,
        w_out: Tensor,
        leaf: Tensor,
        logits: Tensor,
        spec: TreeSpec,
        needs: Needs,
    ) -> Gradients:
        """Compute the gradients, see `Kernel.backward`."""
        dtype, sums = w_in.dtype, logits_dtype(x.dtype)
        w_in, w_out = w_in.to(sums), w_out.to(sums)
        grad_x = torch.empty_like(x) if needs[0] else None
        grad_w_in = torch.empty_like(w_in) if needs[1] else None
        grad_b_in = w_in.new_empty(w_in.shape[:2]) if needs[2] else None
        grad_w_out = torch.empty_like(w_out) if needs[3] else None
        # The bias takes no part; any tensor stands for it.
        layer = _layer(x.dtype, Weights(w_in, w_in, w_out), spec)
        gradients = (grad_x, grad_w_in, grad_b_in, grad_w_out)
        addresses = _addresses(grad_y, x, leaf, logits, *gradients)
        layer.backward(x.shape[0], get_num_threads(), *addresses)
        grad_w_in, grad_b_in, grad_w_out = (
            None if gradient is None else gradient.to(dtype) for gradient in gradients[1:]
        )
        return grad_x, grad_w_in, grad_b_in, grad_w_out

    def forward_quantized(
        self, x: Tensor, weights: Weights, spec: TreeSpec
    ) -> tuple[Tensor, Tensor]:
        """Compute y and leaf with quantized weights, see `QuantizedKernel.forward_quantized`."""
        y = x.new_empty(x.shape[0], weights.w_out.shape[2])
        leaf = x.new_empty(x.shape[0], weights.w_in.shape[0], dtype=torch.int64)
        layer = _layer(x.dtype, weights, spec)
        layer.forward(x.shape[0], get_num_threads(), *_addresses(x, y, leaf))
        return y, leaf

    def place_weights(self, *weights: Tensor) -> None:
        """Move CPU tensors to huge pages, where the system has them: fewer misses of the TLB."""
        if _native is None:
            return
        for tensor in weights:
            if tensor.device.type == "cpu" and has_address(tensor):
                _native.use_huge_pages(tensor.data_ptr(), tensor.numel() * tensor.element_size())

    def prepare(
        self, dtype: torch.dtype, holder: dict[str, Any], spec: TreeSpec
    ) -> Prepared | None:
        """Return the fast path for contiguous weights on CPUs, see `PreparingKernel.prepare`."""
        weights, b_out = Weights.held_by(holder), holder.get("b_out")
        held = [tensor for tensor in (*weights, b_out) if tensor is not None]
        if not can_prepare() or weights.b_in.dtype != logits_dtype(dtype):
            return None
        if not all(has_address(tensor) and tensor.is_contiguous() for tensor in held):
            return None
        self.place_weights(*held)
        call = _call(dtype, holder, weights, spec)
        whole = call if b_out is None else partial(_call_biased, call, holder)
        return Prepared(self.name, dtype, whole, call.holds)


KERNEL: Kernel = NativeKernel()


def instruction_set() -> str:
    """Return the name of the instruction set in use.

    Raises ValueError if ULTRAFASTBERT_ISA names none of `available_instruction_sets()`.
    """
    return _native.instruction_set()


def available_instruction_sets() -> list[str]:
    """Return the instruction sets that are built in and that this processor has, best first."""
    return _native.available_instruction_sets()


def has_address(tensor: Tensor) -> bool:
    """Return whether a tensor's elements lie in memory just as they are.

    Those of fake and functional tensors, subclasses, entries of a batch and lazy negatives do not.
    """
    return (
        type(tensor) in (Tensor, nn.Parameter)
        and tensor.layout == torch.strided
        and not torch._C._functorch.is_functorch_wrapped_tensor(tensor)
        and not torch._is_functional_tensor(tensor)
        and not tensor.is_neg()
        and not tensor._is_zerotensor()
    )


@cache
def can_prepare() -> bool:
    """Return whether PyTorch has DLPack's exchange table, in a version that the core knows."""
    table = getattr(Tensor, EXCHANGE_TABLE, None)
    return _native is not None and _native.is_exchange_table(table)


def _call(dtype: torch.dtype, holder: dict[str, Any], weights: Weights, spec: TreeSpec) -> Any:
    """Return the core's function x -> y, or with biases of leaves x -> (y, leaf)."""
    obstacles = [is_grad_enabled, is_tracing, n_modes, transforms.is_active]
    if dtype != torch.float32:
        obstacles.append(partial(torch.is_autocast_enabled, "cpu"))
    return _native.Call(
        _layer(dtype, weights, spec),
        getattr(Tensor, EXCHANGE_TABLE),
        holder,
        [name for name in (*Weights._fields, "b_out") if holder.get(name) is not None],
        tensor=Tensor,
        is_neg=Tensor.is_neg,
        obstacles=obstacles,
        empty_like=torch.empty_like,
        n_threads=get_num_threads,
        leaf_type=None if holder.get("b_out") is None else torch.int64,
    )


def _call_biased(call: Any, holder: dict[str, Any], x: Tensor) -> Tensor | None:
    if (found := call(x)) is None:
        return None
    y, leaf = found
    return add_leaf_bias(y, leaf, holder["b_out"])


def _layer(dtype: torch.dtype, weights: Weights, spec: TreeSpec) -> Any:
    """Return the core's layer for x of a dtype; it holds addresses, not tensors."""
    w_in, b_in, w_out, scale_in, scale_out, w_routing = weights
    n_trees, _, hidden_size = w_in.shape
    sizes = (hidden_size, w_out.shape[2], n_trees, spec.depth, spec.leaf_size)
    if w_routing is None:
        nodes, leaves = _rows(w_in, scale_in), _rows(w_in, scale_in, spec.n_nodes)
    else:
        nodes, leaves = _rows(w_routing), _rows(w_in, scale_in)
    parts = (nodes, leaves, _rows(w_out, scale_out), b_in.data_ptr())
    activation = _ACTIVATIONS[spec.activation]
    return _native.Layer(_TYPES[dtype], *sizes, activation, spec.node_output, *parts)


def _rows(weight: Tensor, scale: Tensor | None = None, first_row: int = 0) -> tuple:
    """Return what the core takes for the rows of (K, R, columns) from a row of the tree on."""
    n_rows, n_columns = weight.shape[1:]
    address = weight.data_ptr() + first_row * n_columns * weight.element_size()
    scales = 0 if scale is None else scale.data_ptr() + first_row * scale.element_size()
    return address, _TYPES[weight.dtype], n_rows, scales


def _addresses(*tensors: Tensor | None) -> list[int]:
    return [0 if tensor is None else tensor.data_ptr() for tensor in tensors]
