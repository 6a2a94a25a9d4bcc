"""The layer with quantized weights, for inference, as a function and as an operator of PyTorch."""

import torch
from torch import Tensor
from torch.library import Library, register_fake

from ultrafastbert.fff import transforms
from ultrafastbert.fff.checks import (
    BESIDE_QUANTIZED,
    check_floating,
    check_quantized_inputs,
    flatten_tokens,
)
from ultrafastbert.fff.leaf_bias import add_checked_leaf_bias
from ultrafastbert.fff.ops import fast_feedforward_with_leaf
from ultrafastbert.fff.quantization import Weights, dequantize
from ultrafastbert.fff.spec import TreeSpec, tree_spec
from ultrafastbert.fff.transforms import vmap_by_loop
from ultrafastbert.kernels import (
    check_kernel,
    choose_kernel,
    choose_quantized_kernel,
    takes_quantized,
)
from ultrafastbert.kernels.base import Problem

QUANTIZED = "ultrafastbert::fast_feedforward_quantized"

_library = Library("ultrafastbert", "FRAGMENT")
_library.define(
    "fast_feedforward_quantized(Tensor x, Tensor w_in, Tensor b_in, Tensor w_out, Tensor? scale_in,"
    " Tensor? scale_out, Tensor? w_routing, int depth, int leaf_size, str activation,"
    " bool node_output) -> (Tensor, Tensor)"
)


def fast_feedforward_quantized(
    x: Tensor,
    weights: Weights,
    spec: TreeSpec,
    kernel: str | None = None,
    b_out: Tensor | None = None,
) -> Tensor:
    """Return the output of a layer with quantized weights, for inference: x (..., H) -> (..., O).

    Sums are in float32, and so is x of another dtype than bfloat16; the output has the dtype of x.
    Without a kernel that takes quantized weights, or where another is named, weights are expanded
    to float32 on every call. `kernel` and `b_out` are those of `fast_feedforward`.

    Raises:
        TypeError, ValueError: for arguments that do not fit together.
        RuntimeError: where a gradient is wanted, but for derivatives by `torch.func`.
    """
    check_kernel(kernel)
    is_differentiated = transforms.is_differentiating()
    if torch.is_grad_enabled() and x.requires_grad and not is_differentiated:
        raise RuntimeError("quantized weights are for inference; use torch.no_grad()")
    check_floating("x", x)
    if is_differentiated or not takes_quantized(kernel):
        expanded = dequantize(weights)
        y, _ = fast_feedforward_with_leaf(x.float(), *expanded, spec, kernel, b_out)
        return y.to(x.dtype)
    if x.dtype not in BESIDE_QUANTIZED:
        return fast_feedforward_quantized(x.float(), weights, spec, kernel, b_out).to(x.dtype)
    options = (spec.depth, spec.leaf_size, spec.activation, spec.node_output)
    y, leaf = torch.ops.ultrafastbert.fast_feedforward_quantized(
        flatten_tokens(x), *weights, *options
    )
    y = add_checked_leaf_bias(y, leaf, b_out, spec.depth)
    return y.view(*x.shape[:-1], weights.w_out.shape[2])


def _forward(
    x: Tensor,
    w_in: Tensor,
    b_in: Tensor,
    w_out: Tensor,
    scale_in: Tensor | None,
    scale_out: Tensor | None,
    w_routing: Tensor | None,
    depth: int,
    leaf_size: int,
    activation: str,
    node_output: bool,
) -> tuple[Tensor, Tensor]:
    spec = tree_spec(depth, leaf_size, activation, node_output)
    weights = Weights(w_in, b_in, w_out, scale_in, scale_out, w_routing)
    check_quantized_inputs(x, weights, spec)
    x, weights = x.contiguous(), weights.contiguous()
    chosen = choose_quantized_kernel(Problem.of(x, w_in, w_out, spec))
    if chosen is None:
        return _expand_and_compute(x, weights, spec)
    return chosen.forward_quantized(x, weights, spec)


def _expand_and_compute(x: Tensor, weights: Weights, spec: TreeSpec) -> tuple[Tensor, Tensor]:
    tokens, (w_in, b_in, w_out) = x.float(), dequantize(weights)
    chosen = choose_kernel(None, Problem.of(tokens, w_in, w_out, spec))
    y, leaf, _ = chosen.forward(tokens, w_in, b_in, w_out, spec)
    return y.to(x.dtype), leaf


def _fake(x: Tensor, w_in: Tensor, b_in: Tensor, w_out: Tensor, *_) -> tuple[Tensor, Tensor]:
    leaf = x.new_empty(x.shape[0], w_in.shape[0], dtype=torch.int64)
    return x.new_empty(x.shape[0], w_out.shape[2]), leaf


_library.impl("fast_feedforward_quantized", _forward, "CompositeExplicitAutograd")
register_fake(QUANTIZED, _fake, lib=_library)
vmap_by_loop(QUANTIZED, _library)
