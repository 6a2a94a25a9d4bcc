"""The fast feedforward layer as a function, and as one operator of PyTorch.

`torch.ops.ultrafastbert.fast_feedforward` returns the output with what the backward pass needs
(leaf reached, logits of the path), so that no logit is computed twice. Decisions carry no gradient,
hence only visited rows get any: the backward pass costs O(D + L) per token, as the forward pass.
Schemas of operators are made of plain numbers, and exported programs hold them; the spec is built
from them here, and everything below takes tensors and the spec.
"""

import torch
from torch import Tensor
from torch.library import Library, register_autocast, register_autograd, register_fake

from ultrafastbert.fff import transforms
from ultrafastbert.fff.checks import check_inputs, check_saved, flatten_tokens
from ultrafastbert.fff.leaf_bias import add_checked_leaf_bias
from ultrafastbert.fff.reference import output_of_path
from ultrafastbert.fff.spec import TreeSpec, logits_dtype, tree_spec
from ultrafastbert.fff.transforms import vmap_by_loop
from ultrafastbert.kernels import check_kernel, choose_kernel
from ultrafastbert.kernels.base import Problem

FORWARD = "ultrafastbert::fast_feedforward"
BACKWARD = "ultrafastbert::fast_feedforward_backward"

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
    spec = tree_spec(depth, leaf_size, activation, node_output)
    return fast_feedforward_with_leaf(x, w_in, b_in, w_out, spec, kernel, b_out)[0]


def fast_feedforward_with_leaf(
    x: Tensor,
    w_in: Tensor,
    b_in: Tensor,
    w_out: Tensor,
    spec: TreeSpec,
    kernel: str | None = None,
    b_out: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """Return what `fast_feedforward` does, and the leaf that each token reaches: (T, K) int64.

    Within derivatives of `torch.func` and forward-mode differentiation operators of PyTorch compute
    the path, which has derivatives of every order.
    """
    check_kernel(kernel)
    tokens = flatten_tokens(x)
    if transforms.is_differentiating():
        y, leaf = _along_path(tokens, w_in, b_in, w_out, spec, b_out)
    else:
        y, leaf, _ = _call(tokens, w_in, b_in, w_out, spec, kernel or "")
        y = add_checked_leaf_bias(y, leaf, b_out, spec.depth)
    return y.view(*x.shape[:-1], w_out.shape[2]), leaf


def visited_leaves(x: Tensor, w_in: Tensor, b_in: Tensor, depth: int, leaf_size: int = 1) -> Tensor:
    """Return the leaf that each token reaches in each tree: x (..., H) -> (..., K) int64.

    The other arguments and the errors are those of `fast_feedforward`;
    `ultrafastbert.fff.tree.path_rows` turns leaves into the rows visited.
    """
    no_output = w_in.new_empty(*w_in.shape[:2], 1)
    spec = tree_spec(depth, leaf_size, "linear", True)
    with torch.no_grad():
        _, leaf, _ = _call(flatten_tokens(x), w_in, b_in, no_output, spec, "")
    return leaf.view(*x.shape[:-1], w_in.shape[0])


def _call(
    x: Tensor, w_in: Tensor, b_in: Tensor, w_out: Tensor, spec: TreeSpec, kernel: str
) -> tuple[Tensor, Tensor, Tensor]:
    """Call the operator: x (T, H) -> y (T, O), leaf (T, K), logits (T, K, S)."""
    options = (spec.depth, spec.leaf_size, spec.activation, spec.node_output)
    return torch.ops.ultrafastbert.fast_feedforward(x, w_in, b_in, w_out, *options, kernel)


def _along_path(
    x: Tensor, w_in: Tensor, b_in: Tensor, w_out: Tensor, spec: TreeSpec, b_out: Tensor | None
) -> tuple[Tensor, Tensor]:
    """Return output and leaf by operators of PyTorch, in the dtype of sums and without autocast."""
    leaf = visited_leaves(x.detach(), w_in.detach(), b_in.detach(), spec.depth, spec.leaf_size)
    device_type = x.device.type
    is_cast = torch.is_autocast_enabled(device_type)
    with torch.autocast(device_type, enabled=False):
        if is_cast:
            cast = (t if t.dtype == torch.float64 else t.float() for t in (x, w_in, b_in, w_out))
            x, w_in, b_in, w_out = cast
        check_inputs(x, w_in, b_in, w_out, spec)
        y_dtype, dtype = x.dtype, logits_dtype(w_in.dtype)
        x, w_in, b_in, w_out = (t.to(dtype) for t in (x, w_in, b_in, w_out))
        y = output_of_path(x, w_in, b_in, w_out, leaf, spec)
        b_out = None if b_out is None else b_out.to(dtype)
        return add_checked_leaf_bias(y, leaf, b_out, spec.depth).to(y_dtype), leaf


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
    spec = tree_spec(depth, leaf_size, activation, node_output)
    check_inputs(x, w_in, b_in, w_out, spec)
    chosen = choose_kernel(kernel, Problem.of(x, w_in, w_out, spec))
    x, w_in, b_in, w_out = (t.contiguous() for t in (x, w_in, b_in, w_out))
    return chosen.forward(x, w_in, b_in, w_out, spec)


def _forward_fake(
    x: Tensor,
    w_in: Tensor,
    b_in: Tensor,
    w_out: Tensor,
    depth: int,
    leaf_size: int,
    *_,
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
    spec = tree_spec(depth, leaf_size, activation, node_output)
    chosen = choose_kernel(kernel, Problem.of(x, w_in, w_out, spec))
    check_saved(grad_y, x, w_in, leaf, logits)
    grad_y, x, w_in, w_out, leaf, logits = (
        t.contiguous() for t in (grad_y, x, w_in, w_out, leaf, logits)
    )
    of_x, of_w_in, of_b_in, of_w_out = needs
    wanted = (of_x, of_w_in, of_b_in, of_w_out)
    grads = chosen.backward(grad_y, x, w_in, w_out, leaf, logits, spec, wanted)
    return tuple(x.new_empty(0) if grad is None else grad for grad in grads)


def _backward_fake(
    grad_y: Tensor, x: Tensor, w_in: Tensor, w_out: Tensor, *rest
) -> tuple[Tensor, ...]:
    needs = rest[-2]
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
register_fake(FORWARD, _forward_fake, lib=_library)
register_fake(BACKWARD, _backward_fake, lib=_library)
register_autograd(FORWARD, _differentiate, setup_context=_save, lib=_library)
register_autograd(BACKWARD, _no_second_derivative, lib=_library)
for _name in (FORWARD, BACKWARD):
    vmap_by_loop(_name, _library)
# Decisions hang on the sign of a logit: under autocast the layer stays in float32.
register_autocast(FORWARD, "cpu", torch.float32, lib=_library)
register_autocast(FORWARD, "cuda", torch.float32, lib=_library)
