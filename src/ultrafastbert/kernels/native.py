"""Kernel `native`: the C++ core for CPUs (csrc/).

The only file that imports `ultrafastbert._native`. Activations are float32, bfloat16 or float64;
weights are float32 or bfloat16 (float64 for float64), and for inference also int8. The
instruction set is chosen at the first call; the environment variable ULTRAFASTBERT_ISA overrides
the choice. Results do not depend on the number of threads, which is that of PyTorch, bit for bit.
"""

from functools import cache, partial
from typing import Any

import torch
from torch import Tensor, get_num_threads, is_grad_enabled, nn

from ultrafastbert.fff import transforms, tree
from ultrafastbert.fff.activations import ACTIVATIONS
from ultrafastbert.fff.leaf_bias import add_leaf_bias
from ultrafastbert.fff.quantization import Weights

try:
    from ultrafastbert import _native
except ImportError:
    _native = None  # type: ignore[assignment]

# Where types of tensors have DLPack's table of C functions, see csrc/binding/tensor.h.
EXCHANGE_TABLE = "__dlpack_c_exchange_api__"
# Whether something traces, or sees every operator: the public ways to ask are slow or none.
is_tracing, n_modes = torch._C._is_tracing, torch._C._len_torch_dispatch_stack
_DTYPES = (torch.float32, torch.float64, torch.bfloat16, torch.int8)
# The core's enumerations by our names for their values; without the core nothing asks.
_ACTIVATIONS = {name: _native.Activation[name] for name in ACTIVATIONS if _native}
_TYPES = {dtype: _native.Type[str(dtype).removeprefix("torch.")] for dtype in _DTYPES if _native}


def is_available() -> bool:
    """Return whether the native core was built with the package."""
    return _native is not None


def supports(device_type: str, dtype: torch.dtype, depth: int) -> bool:
    """Return True for float32, float64 and bfloat16 activations on CPUs, at any depth."""
    return device_type == "cpu" and dtype in (torch.float32, torch.float64, torch.bfloat16)


def instruction_set() -> str:
    """Return the name of the instruction set in use.

    Raises ValueError if ULTRAFASTBERT_ISA names none of `available_instruction_sets()`.
    """
    return _native.instruction_set()


def available_instruction_sets() -> list[str]:
    """Return the instruction sets that are built in and that this processor has, best first."""
    return _native.available_instruction_sets()


def has_address(tensor: Tensor) -> bool:
    """Return whether a tensor's numbers lie in memory just as they are.

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


def use_huge_pages(*tensors: Tensor) -> None:
    """Move CPU tensors to large pages of memory, where the system can: rows are found faster."""
    if _native is None:
        return
    for tensor in tensors:
        if tensor.device.type == "cpu" and has_address(tensor):
            _native.use_huge_pages(tensor.data_ptr(), tensor.numel() * tensor.element_size())


def forward_quantized(
    x: Tensor,
    weights: Weights,
    depth: int,
    leaf_size: int,
    activation: str,
    node_output: bool,
) -> tuple[Tensor, Tensor]:
    """Compute the output (T, O) and the leaf (T, K) with quantized weights; x is contiguous."""
    weights = Weights(*(None if w is None else w.contiguous() for w in weights))  # type: ignore
    y = x.new_empty(x.shape[0], weights.w_out.shape[2])
    leaf = x.new_empty(x.shape[0], weights.w_in.shape[0], dtype=torch.int64)
    layer = _layer(x.dtype, weights, depth, leaf_size, activation, node_output)
    layer.forward(x.shape[0], get_num_threads(), *_addresses(x, y, leaf))
    return y, leaf


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
    b_in = b_in.to(_sum_dtype(x))
    logits = b_in.new_empty(n_tokens, n_trees, depth + leaf_size)
    layer = _layer(x.dtype, Weights(w_in, b_in, w_out), depth, leaf_size, activation, node_output)
    layer.forward(n_tokens, get_num_threads(), *_addresses(x, y, leaf, logits))
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
    dtype = w_in.dtype
    w_in, w_out = w_in.to(_sum_dtype(x)), w_out.to(_sum_dtype(x))
    grad_x = torch.empty_like(x) if needs[0] else None
    grad_w_in = torch.empty_like(w_in) if needs[1] else None
    grad_b_in = w_in.new_empty(w_in.shape[:2]) if needs[2] else None
    grad_w_out = torch.empty_like(w_out) if needs[3] else None
    # The bias takes no part; any tensor stands for it.
    layer = _layer(x.dtype, Weights(w_in, w_in, w_out), depth, leaf_size, activation, node_output)
    gradients = (grad_x, grad_w_in, grad_b_in, grad_w_out)
    addresses = _addresses(grad_y, x, leaf, logits, *gradients)
    layer.backward(x.shape[0], get_num_threads(), *addresses)
    grad_w_in, grad_b_in, grad_w_out = (
        None if gradient is None else gradient.to(dtype) for gradient in gradients[1:]
    )
    return grad_x, grad_w_in, grad_b_in, grad_w_out


class Prepared:
    """A layer whose sizes and weights were looked up once: the shortest way, for inference.

    No operator, no record for gradients. Weights may change in place.

    Attributes:
        call: the function x (..., H) -> y (..., O). It returns None, and the operator must be
            called, for x that is not contiguous, of another dtype, size or kind than prepared for,
            where something records the call, or where the weights have moved. A compiler must not
            see it.
        dtype: that x must have.
        holds: the function () -> whether the weights are where they were.
    """

    __slots__ = ("call", "dtype", "holds")

    def __init__(self, dtype: torch.dtype, holder: dict[str, Any], *options: Any):
        """Prepare for x of a dtype; `holder` is where the weights are found by their names.

        It may hold output biases of leaves, too, as `b_out`. Raises ValueError unless
        `can_prepare()`.
        """
        weights, is_biased = Weights.held_by(holder), holder.get("b_out") is not None
        names = [name for name in (*Weights._fields, "b_out") if holder.get(name) is not None]
        use_huge_pages(*(holder[name] for name in names))
        obstacles = [is_grad_enabled, is_tracing, n_modes, transforms.is_active]
        if dtype != torch.float32:
            obstacles.append(partial(torch.is_autocast_enabled, "cpu"))
        call = _native.Call(
            _layer(dtype, weights, *options),
            getattr(Tensor, EXCHANGE_TABLE),
            holder,
            names,
            tensor=Tensor,
            is_neg=Tensor.is_neg,
            obstacles=obstacles,
            empty_like=torch.empty_like,
            n_threads=get_num_threads,
            leaf_type=torch.int64 if is_biased else None,
        )
        self.call = partial(_call_biased, call, holder) if is_biased else call
        self.dtype, self.holds = dtype, call.holds


def _call_biased(call: Any, holder: dict[str, Any], x: Tensor) -> Tensor | None:
    if (found := call(x)) is None:
        return None
    y, leaf = found
    return add_leaf_bias(y, leaf, holder["b_out"])


@cache
def can_prepare() -> bool:
    """Return whether PyTorch tells the core where tensors are, in a way that it knows."""
    table = getattr(Tensor, EXCHANGE_TABLE, None)
    return _native is not None and _native.is_exchange_table(table)


def _sum_dtype(x: Tensor) -> torch.dtype:
    """Return the dtype of sums and logits."""
    return torch.float64 if x.dtype == torch.float64 else torch.float32


def _rows(weight: Tensor, scale: Tensor | None = None, first_row: int = 0) -> tuple:
    """Return what the core takes for the rows of (K, R, columns) from a row of the tree on."""
    n_rows, n_columns = weight.shape[1:]
    address = weight.data_ptr() + first_row * n_columns * weight.element_size()
    scales = 0 if scale is None else scale.data_ptr() + first_row * scale.element_size()
    return address, _TYPES[weight.dtype], n_rows, scales


def _layer(
    dtype: torch.dtype,
    weights: Weights,
    depth: int,
    leaf_size: int,
    activation: str,
    node_output: bool,
) -> Any:
    w_in, b_in, w_out, scale_in, scale_out, w_routing = weights
    n_trees, _, hidden_size = w_in.shape
    sizes = (hidden_size, w_out.shape[2], n_trees, depth, leaf_size)
    if w_routing is None:
        nodes, leaves = _rows(w_in, scale_in), _rows(w_in, scale_in, tree.n_nodes(depth))
    else:
        nodes, leaves = _rows(w_routing), _rows(w_in, scale_in)
    parts = (nodes, leaves, _rows(w_out, scale_out), b_in.data_ptr())
    return _native.Layer(_TYPES[dtype], *sizes, _ACTIVATIONS[activation], node_output, *parts)


def _addresses(*tensors: Tensor | None) -> list[int]:
    return [0 if tensor is None else tensor.data_ptr() for tensor in tensors]
