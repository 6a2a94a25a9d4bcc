"""The fast feedforward layer as one PyTorch operator: schema, fake, autograd, choice of kernel.

`torch.ops.ultrafastbert.fast_feedforward` returns the output with what the backward pass needs
(leaf reached, logits of the path), so that no logit is computed twice. Decisions carry no gradient,
hence only visited rows get any: the backward pass costs O(D + L) per token, as the forward pass.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor
from torch.library import Library, register_autocast, register_autograd, register_fake

from ultrafastbert.fff import transforms, tree
from ultrafastbert.fff.activations import check_activation
from ultrafastbert.fff.leaf_bias import add_leaf_bias, check_leaf_bias
from ultrafastbert.fff.quantization import Weights, dequantize
from ultrafastbert.fff.reference import output_of_path
from ultrafastbert.fff.transforms import vmap_by_loop
from ultrafastbert.kernels import check_kernel, choose_kernel, gather, logits_dtype, native

FORWARD = "ultrafastbert::fast_feedforward"
BACKWARD = "ultrafastbert::fast_feedforward_backward"
QUANTIZED = "ultrafastbert::fast_feedforward_quantized"
# Dtypes of x that the operator itself takes with quantized weights.
BESIDE_QUANTIZED = (torch.float32, torch.bfloat16)

_library = Library("ultrafastbert", "DEF")
_library.define(
    "fast_feedforward(Tensor x, Tensor w_in, Tensor b_in, Tensor w_out, int depth, int leaf_size,"
    " str activation, bool node_output, str kernel) -> (Tensor, Tensor, Tensor)"
)
_library.define(
    "fast_feedforward_backward(Tensor grad_y, Tensor x, Tensor w_in, Tensor w_out, Tensor leaf,"
    " Tensor logits, int depth, int leaf_size, str activation, bool node_output, bool[4] needs,"
    " str kernel) -> (Tensor, Tensor, Tensor, Tensor)"
)

_library.define(
    "fast_feedforward_quantized(Tensor x, Tensor w_in, Tensor b_in, Tensor w_out, Tensor? scale_in,"
    " Tensor? scale_out, Tensor? w_routing, int depth, int leaf_size, str activation,"
    " bool node_output) -> (Tensor, Tensor)"
)

_default_kernel = ""


@contextmanager
def use_kernel(name: str | None) -> Iterator[None]:
    """Make `name` the kernel of every call in the process that does not name one itself.

    Raises ValueError for a name that is unknown or not available here.
    """
    global _default_kernel
    check_kernel(name)
    before, _default_kernel = _default_kernel, name or ""
    try:
        yield
    finally:
        _default_kernel = before


def fast_feedforward(
    x: Tensor,
    w_in: Tensor,
    b_in: Tensor,
    w_out: Tensor,
    depth: int,
    leaf_size: int = 1,
    activation: str = "gelu",
    node_output: bool = True,
    kernel: str | None = None,
    b_out: Tensor | None = None,
) -> Tensor:
    """Return the output of a fast feedforward layer, computing only what each token visits.

    Args:
        x: tokens, (..., H).
        w_in: input weights, (K, R, H): K trees of R = 2^D - 1 + 2^D * L rows, nodes in heap order,
            then the leaf blocks from left to right.
        b_in: input biases, (K, R).
        w_out: output weights, (K, R, O).
        depth: D, decisions on a path; 0 is a dense layer of width K * L.
        leaf_size: L, neurons per leaf.
        activation: name of the activation, see `ultrafastbert.fff.activations`.
        node_output: whether nodes add to the output or only route.
        kernel: name of the kernel, see `ultrafastbert.kernels`; by default the fastest that fits.
        b_out: output biases of leaves, (K, 2^D, O); None for none.

    Returns:
        The sum over the visited neurons of act(w_in . x + b_in) w_out, (..., O), and of the biases
        of the leaves reached.

    Raises:
        TypeError, ValueError: for arguments that do not fit together.

    Source: arXiv 2311.10770, algorithm 1; with leaf blocks arXiv 2308.14711.
    """
    options = (depth, leaf_size, activation, node_output, kernel)
    return fast_feedforward_with_leaf(x, w_in, b_in, w_out, *options, b_out)[0]


def fast_feedforward_with_leaf(
    x: Tensor,
    w_in: Tensor,
    b_in: Tensor,
    w_out: Tensor,
    depth: int,
    leaf_size: int = 1,
    activation: str = "gelu",
    node_output: bool = True,
    kernel: str | None = None,
    b_out: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """Return what `fast_feedforward` does, and the leaf that each token reaches: (T, K) int64.

    Within derivatives of `torch.func` and forward-mode differentiation operators of PyTorch compute
    the path, which has derivatives of every order.
    """
    check_kernel(kernel)
    if transforms.is_differentiating():
        options = (depth, leaf_size, activation, node_output)
        y, leaf = _along_path(_flat(x), w_in, b_in, w_out, *options, b_out)
        return y.view(*x.shape[:-1], w_out.shape[2]), leaf
    y, leaf, _ = torch.ops.ultrafastbert.fast_feedforward(
        _flat(x), w_in, b_in, w_out, depth, leaf_size, activation, node_output, kernel or ""
    )
    y = _add_leaf_bias(y, leaf, b_out, depth)
    return y.view(*x.shape[:-1], w_out.shape[2]), leaf


def _along_path(
    x: Tensor,
    w_in: Tensor,
    b_in: Tensor,
    w_out: Tensor,
    depth: int,
    leaf_size: int,
    activation: str,
    node_output: bool,
    b_out: Tensor | None,
) -> tuple[Tensor, Tensor]:
    """Return output and leaf by operators of PyTorch, in the dtype of sums and without autocast."""
    leaf = visited_leaves(x.detach(), w_in.detach(), b_in.detach(), depth, leaf_size)
    device_type = x.device.type
    is_cast = torch.is_autocast_enabled(device_type)
    with torch.autocast(device_type, enabled=False):
        if is_cast:
            cast = (t if t.dtype == torch.float64 else t.float() for t in (x, w_in, b_in, w_out))
            x, w_in, b_in, w_out = cast
        _check(x, w_in, b_in, w_out, depth, leaf_size, activation)
        y_dtype, dtype = x.dtype, logits_dtype(w_in.dtype)
        x, w_in, b_in, w_out = (t.to(dtype) for t in (x, w_in, b_in, w_out))
        y = output_of_path(x, w_in, b_in, w_out, leaf, depth, leaf_size, activation, node_output)
        if b_out is not None:
            check_leaf_bias(b_out, w_in.shape[0], depth, w_out.shape[2])
            y = add_leaf_bias(y, leaf, b_out.to(dtype))
        return y.to(y_dtype), leaf


def fast_feedforward_quantized(
    x: Tensor,
    weights: Weights,
    depth: int,
    leaf_size: int = 1,
    activation: str = "gelu",
    node_output: bool = True,
    kernel: str | None = None,
    b_out: Tensor | None = None,
) -> Tensor:
    """Return the output of a layer with quantized weights, for inference: x (..., H) -> (..., O).

    Sums are in float32, and so is x of another dtype than bfloat16; the output has the dtype of x.
    Without the native core, or where another kernel is named, weights are expanded to float32 on
    every call. The other arguments are those of `fast_feedforward`.

    Raises:
        TypeError, ValueError: for arguments that do not fit together.
        RuntimeError: where a gradient is wanted, but for derivatives by `torch.func`.
    """
    check_kernel(kernel)
    options = (depth, leaf_size, activation, node_output, kernel, b_out)
    is_differentiated = transforms.is_differentiating()
    if torch.is_grad_enabled() and x.requires_grad and not is_differentiated:
        raise RuntimeError("quantized weights are for inference; use torch.no_grad()")
    _check_floating("x", x)
    if is_differentiated or not may_be_native(kernel):
        w_in, b_in, w_out = dequantize(weights)
        return fast_feedforward(x.float(), w_in, b_in, w_out, *options).to(x.dtype)
    if x.dtype not in BESIDE_QUANTIZED:
        return fast_feedforward_quantized(x.float(), weights, *options).to(x.dtype)
    y, leaf = torch.ops.ultrafastbert.fast_feedforward_quantized(
        _flat(x), *weights, depth, leaf_size, activation, node_output
    )
    y = _add_leaf_bias(y, leaf, b_out, depth)
    return y.view(*x.shape[:-1], weights.w_out.shape[2])


def _add_leaf_bias(y: Tensor, leaf: Tensor, b_out: Tensor | None, depth: int) -> Tensor:
    if b_out is None:
        return y
    check_leaf_bias(b_out, leaf.shape[1], depth, y.shape[1])
    return add_leaf_bias(y, leaf, b_out)


def may_be_native(kernel: str | None) -> bool:
    """Return whether neither `kernel` nor `use_kernel` names another kernel than the native one."""
    return (kernel or _default_kernel) in ("", "native")


def uses_native(kernel: str | None, device_type: str, dtype: torch.dtype, depth: int) -> bool:
    """Return whether a call with these inputs goes to the native kernel."""
    usable = native.is_available() and native.supports(device_type, dtype, depth)
    named = (kernel or _default_kernel) == "native"
    return usable and may_be_native(kernel) and (named or depth > 0)


def visited_leaves(x: Tensor, w_in: Tensor, b_in: Tensor, depth: int, leaf_size: int = 1) -> Tensor:
    """Return the leaf that each token reaches in each tree: x (..., H) -> (..., K) int64.

    The other arguments and the errors are those of `fast_feedforward`;
    `ultrafastbert.fff.tree.path_rows` turns leaves into the rows visited.
    """
    no_output = w_in.new_empty(*w_in.shape[:2], 1)
    with torch.no_grad():
        _, leaf, _ = torch.ops.ultrafastbert.fast_feedforward(
            _flat(x), w_in, b_in, no_output, depth, leaf_size, "linear", True, ""
        )
    return leaf.view(*x.shape[:-1], w_in.shape[0])


def _flat(x: Tensor) -> Tensor:
    if x.dim() == 0:
        raise ValueError("x has no size; it must be (..., hidden)")
    return x.reshape(-1, x.shape[-1])


def check_geometry(depth: int, leaf_size: int, n_trees: int = 1) -> None:
    """Raise ValueError unless the three sizes describe a tree."""
    if not 0 <= depth <= tree.MAX_DEPTH:
        raise ValueError(f"depth={depth} must be between 0 and {tree.MAX_DEPTH}")
    if leaf_size < 1:
        raise ValueError(f"leaf_size={leaf_size} must be at least 1")
    if n_trees < 1:
        raise ValueError(f"n_trees={n_trees} must be at least 1")


def _check(
    x: Tensor,
    w_in: Tensor,
    b_in: Tensor,
    w_out: Tensor,
    depth: int,
    leaf_size: int,
    activation: str,
) -> None:
    check_geometry(depth, leaf_size)
    check_activation(activation)
    if w_in.dim() != 3:
        raise ValueError(f"w_in has shape {tuple(w_in.shape)}; it must be (n_trees, rows, hidden)")
    rows = tree.n_rows(depth, leaf_size)
    if w_in.shape[1] != rows:
        raise ValueError(
            f"w_in has {w_in.shape[1]} rows per tree, but depth={depth} and leaf_size={leaf_size} "
            f"need 2^depth - 1 + 2^depth * leaf_size = {rows}"
        )
    if b_in.shape != w_in.shape[:2]:
        raise ValueError(f"b_in has shape {tuple(b_in.shape)}; w_in needs {tuple(w_in.shape[:2])}")
    if w_out.dim() != 3 or w_out.shape[:2] != w_in.shape[:2]:
        raise ValueError(
            f"w_out has shape {tuple(w_out.shape)}; w_in needs {(*w_in.shape[:2], 'output size')}"
        )
    if x.dim() != 2 or x.shape[1] != w_in.shape[2]:
        raise ValueError(f"x has shape {tuple(x.shape)}; its last size must be {w_in.shape[2]}")
    _check_dtypes(x, w_in, b_in, w_out)


def _check_floating(name: str, tensor: Tensor) -> None:
    if not tensor.is_floating_point():
        raise TypeError(f"{name} has dtype {tensor.dtype}; it must be floating point")


def _check_dtypes(x: Tensor, w_in: Tensor, b_in: Tensor, w_out: Tensor) -> None:
    named = {"x": x, "w_in": w_in, "b_in": b_in, "w_out": w_out}
    for name, tensor in named.items():
        _check_floating(name, tensor)
        if tensor.device != x.device:
            raise ValueError(f"{name} is on {tensor.device}, but x is on {x.device}")
    for name in ("b_in", "w_out"):
        if named[name].dtype != w_in.dtype:
            raise TypeError(f"{name} has dtype {named[name].dtype}, but w_in has {w_in.dtype}")
    if w_in.dtype != x.dtype and (x.dtype, w_in.dtype) != (torch.bfloat16, torch.float32):
        raise TypeError(
            f"w_in has dtype {w_in.dtype}, but x has {x.dtype}; cast one (weights may be float32 "
            "beside bfloat16 x)"
        )


def _forward(
    x: Tensor,
    w_in: Tensor,
    b_in: Tensor,
    w_out: Tensor,
    depth: int,
    leaf_size: int,
    activation: str,
    node_output: bool,
    kernel: str,
) -> tuple[Tensor, Tensor, Tensor]:
    _check(x, w_in, b_in, w_out, depth, leaf_size, activation)
    chosen = choose_kernel(kernel or _default_kernel, x.device.type, x.dtype, depth)
    tensors = (t.contiguous() for t in (x, w_in, b_in, w_out))
    return chosen.forward(*tensors, depth, leaf_size, activation, node_output)


def _check_quantized(x: Tensor, weights: Weights, depth: int, leaf_size: int) -> None:
    check_geometry(depth, leaf_size)
    if weights.w_in.dim() != 3 or weights.w_out.dim() != 3:
        raise ValueError("w_in and w_out must be (n_trees, rows, columns)")
    n_trees, _, hidden_size = weights.w_in.shape
    n_rows, n_nodes = tree.n_rows(depth, leaf_size), tree.n_nodes(depth)
    rows_in = n_rows if weights.w_routing is None else n_rows - n_nodes
    shapes = {
        "w_in": (n_trees, rows_in, hidden_size),
        "b_in": (n_trees, n_rows),
        "w_out": (n_trees, n_rows, weights.w_out.shape[2]),
        "scale_in": (n_trees, rows_in),
        "scale_out": (n_trees, n_rows),
        "w_routing": (n_trees, n_nodes, hidden_size),
    }
    narrow = (torch.bfloat16, torch.int8)
    for name, tensor in weights._asdict().items():
        if tensor is None:
            continue
        shape = shapes[name]
        allowed = narrow if name in ("w_in", "w_out") else (torch.float32,)
        if tuple(tensor.shape) != shape:
            raise ValueError(f"{name} has shape {tuple(tensor.shape)}; these sizes need {shape}")
        if tensor.dtype not in allowed:
            raise TypeError(f"{name} has dtype {tensor.dtype}; it must be {allowed[0]}")
        if tensor.device != x.device:
            raise ValueError(f"{name} is on {tensor.device}, but x is on {x.device}")
    for rows, scale in (("w_in", "scale_in"), ("w_out", "scale_out")):
        if getattr(weights, rows).dtype == torch.int8 and getattr(weights, scale) is None:
            raise ValueError(f"{rows} is int8 and needs {scale}")
    if x.dim() != 2 or x.shape[1] != hidden_size:
        raise ValueError(f"x has shape {tuple(x.shape)}; its last size must be {hidden_size}")
    if x.dtype not in BESIDE_QUANTIZED:
        raise TypeError(
            f"x has dtype {x.dtype}; beside quantized weights it is float32 or bfloat16"
        )


def _forward_quantized(
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
    check_activation(activation)
    weights = Weights(w_in, b_in, w_out, scale_in, scale_out, w_routing)
    _check_quantized(x, weights, depth, leaf_size)
    options = (depth, leaf_size, activation, node_output)
    if native.is_available() and native.supports(x.device.type, x.dtype, depth):
        return native.forward_quantized(x.contiguous(), weights, *options)
    w_in, b_in, w_out = dequantize(weights)
    y, leaf, _ = gather.forward(x.float(), w_in, b_in, w_out, *options)
    return y.to(x.dtype), leaf


def _forward_quantized_fake(
    x: Tensor, w_in: Tensor, b_in: Tensor, w_out: Tensor, *_
) -> tuple[Tensor, Tensor]:
    leaf = x.new_empty(x.shape[0], w_in.shape[0], dtype=torch.int64)
    return x.new_empty(x.shape[0], w_out.shape[2]), leaf


def _forward_fake(
    x: Tensor,
    w_in: Tensor,
    b_in: Tensor,
    w_out: Tensor,
    depth: int,
    leaf_size: int,
    activation: str,
    node_output: bool,
    kernel: str,
) -> tuple[Tensor, Tensor, Tensor]:
    n_tokens, n_trees = x.shape[0], w_in.shape[0]
    return (
        x.new_empty(n_tokens, w_out.shape[2]),
        x.new_empty(n_tokens, n_trees, dtype=torch.int64),
        x.new_empty(n_tokens, n_trees, depth + leaf_size, dtype=logits_dtype(w_in.dtype)),
    )


def _backward(
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
    needs: list[bool],
    kernel: str,
) -> tuple[Tensor, ...]:
    chosen = choose_kernel(kernel or _default_kernel, x.device.type, x.dtype, depth)
    wanted = {"grad_y": x.dtype, "leaf": torch.int64, "logits": logits_dtype(w_in.dtype)}
    given = {"grad_y": grad_y, "leaf": leaf, "logits": logits}
    for name, dtype in wanted.items():
        if given[name].dtype != dtype:
            raise TypeError(f"{name} has dtype {given[name].dtype}; it must be {dtype}")
    tensors = (t.contiguous() for t in (grad_y, x, w_in, w_out, leaf, logits))
    grads = chosen.backward(*tensors, depth, leaf_size, activation, node_output, tuple(needs))
    return tuple(x.new_empty(0) if grad is None else grad for grad in grads)


def _backward_fake(
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
    needs: list[bool],
    kernel: str,
) -> tuple[Tensor, ...]:
    shapes = (x.shape, w_in.shape, w_in.shape[:2], w_out.shape)
    likes = (x, w_in, w_in, w_out)
    grads = zip(likes, shapes, needs, strict=True)
    return tuple(like.new_empty(shape) if need else x.new_empty(0) for like, shape, need in grads)


def _save(ctx, inputs, output) -> None:
    x, w_in, _, w_out, *ctx.options, ctx.kernel = inputs
    _, leaf, logits = output
    ctx.save_for_backward(x, w_in, w_out, leaf, logits)
    ctx.mark_non_differentiable(leaf, logits)
    ctx.set_materialize_grads(False)


def _differentiate(ctx, grad_y: Tensor | None, *_: Tensor | None):
    none = (None,) * (len(ctx.options) + 1)
    if grad_y is None:
        return (None,) * 4 + none
    saved = ctx.saved_tensors
    if transforms.has_tangent(grad_y, *saved):
        _no_second_derivative(ctx)
    needs = list(ctx.needs_input_grad[:4])
    grads = torch.ops.ultrafastbert.fast_feedforward_backward(
        grad_y, *saved, *ctx.options, needs, ctx.kernel
    )
    return (*(g if need else None for g, need in zip(grads, needs, strict=True)), *none)


def _no_second_derivative(ctx, *_):
    raise NotImplementedError("fast_feedforward has no second derivative")


_library.impl("fast_feedforward", _forward, "CompositeExplicitAutograd")
_library.impl("fast_feedforward_backward", _backward, "CompositeExplicitAutograd")
_library.impl("fast_feedforward_quantized", _forward_quantized, "CompositeExplicitAutograd")
register_fake(FORWARD, _forward_fake, lib=_library)
register_fake(BACKWARD, _backward_fake, lib=_library)
register_fake(QUANTIZED, _forward_quantized_fake, lib=_library)
register_autograd(FORWARD, _differentiate, setup_context=_save, lib=_library)
register_autograd(BACKWARD, _no_second_derivative, lib=_library)
for _name in (FORWARD, BACKWARD, QUANTIZED):
    vmap_by_loop(_name, _library)
# Decisions hang on the sign of a logit: under autocast the layer stays in float32.
register_autocast(FORWARD, "cpu", torch.float32, lib=_library)
register_autocast(FORWARD, "cuda", torch.float32, lib=_library)
