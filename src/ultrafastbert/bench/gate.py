"""Gate before clock: a kernel is proven equal to the definition on the shapes that are timed."""

from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from ultrafastbert import ops, reference, tree
from ultrafastbert.layers import FastFeedForward

# Tokens compared; the kernel runs on all of them, the definition would need too much memory.
GATE_TOKENS = 128
# Decisions closer to zero than this may go either way with the order of a sum in float32.
MARGIN = 1e-4
# A few roundings of float32, relative to the norm, for results that plain PyTorch gets exactly.
FLOOR = 1e-6
NAMES = ("output", "gradient of x", "gradient of w_in", "gradient of b_in", "gradient of w_out")


@dataclass(frozen=True)
class Expectation:
    """What the definition gives for some tokens, in float64, and plain float32's error on it."""

    x: Tensor  # (T, H), all tokens
    chosen: Tensor  # (t), tokens compared
    grad_y: Tensor  # (T, O), zero but for the tokens compared
    results: tuple[Tensor, ...]  # output (t, O), gradients
    errors: tuple[float, ...]  # of the definition in float32, relative


def expect(layer: FastFeedForward, x: Tensor) -> Expectation:
    """Evaluate the definition on up to `GATE_TOKENS` tokens of x (T, H) whose path is clear.

    Raises RuntimeError if no token's path is.
    """
    spread = torch.linspace(0, len(x) - 1, min(GATE_TOKENS, len(x))).long()
    chosen = spread[_is_clear(layer, x[spread])]
    if not len(chosen):
        raise RuntimeError(f"all {len(spread)} tokens decide within {MARGIN} of zero")
    grad_y = torch.zeros(len(x), layer.output_size)
    grad_y[chosen] = torch.randn(len(chosen), layer.output_size)
    results, plain = (
        _differentiate(layer, x[chosen], grad_y[chosen], dtype, reference_layer, chosen=None)
        for dtype in (torch.float64, torch.float32)
    )
    errors = tuple(_error(a, b) for a, b in zip(plain, results, strict=True))
    grad_x = torch.zeros(x.shape, dtype=torch.float64)
    grad_x[chosen] = results[1]
    return Expectation(x, chosen, grad_y, (results[0], grad_x, *results[2:]), errors)


def prove(kernel: str, layer: FastFeedForward, expected: Expectation, backward: bool) -> None:
    """Raise RuntimeError unless the kernel's error is at most twice that of plain PyTorch.

    The output of the tokens compared and, if `backward`, all gradients are measured against the
    definition in float64. The kernel runs on all tokens of the expectation.
    """

    run = partial(ops.fast_feedforward, kernel=kernel)
    if backward:
        got = _differentiate(
            layer, expected.x, expected.grad_y, torch.float32, run, expected.chosen
        )
    else:
        with torch.inference_mode():
            got = (run(expected.x, *_arguments(layer, torch.float32))[expected.chosen],)
    for name, value, want, plain in zip(
        NAMES, got, expected.results, expected.errors, strict=False
    ):
        if not _error(value, want) <= 2 * plain + FLOOR:
            raise RuntimeError(
                f"kernel {kernel}: the {name} for {len(expected.x)} tokens is off by "
                f"{_error(value, want):.1e}, plain PyTorch by {plain:.1e}; it is not timed"
            )


def reference_layer(x, w_in, b_in, w_out, depth, leaf_size, activation, node_output) -> Tensor:
    """Compute the definition."""
    return reference.fast_feedforward_reference(
        x, w_in, b_in, w_out, depth, leaf_size, activation, node_output
    )


def _is_clear(layer: FastFeedForward, x: Tensor) -> Tensor:
    """Which tokens decide by more than the margin on all of their paths: (t, H) -> (t) bool."""
    with torch.inference_mode():
        logits = reference.all_logits(x.double(), layer.w_in.double(), layer.b_in.double())
        nodes = tree.path_nodes(reference.route(logits, layer.depth), layer.depth)  # (t, K, D)
        return (logits.gather(-1, nodes).abs() > MARGIN).all(-1).all(-1)


def _arguments(layer: FastFeedForward, dtype: torch.dtype) -> tuple:
    weights = (w.detach().to(dtype) for w in (layer.w_in, layer.b_in, layer.w_out))
    return (*weights, layer.depth, layer.leaf_size, layer.activation, layer.node_output)


def _differentiate(layer, x, grad_y, dtype, run, chosen) -> tuple[Tensor, ...]:
    """Return output and gradients; of the output only the chosen tokens."""
    arguments = _arguments(layer, dtype)
    tensors = [x.detach().to(dtype), *arguments[:3]]
    tensors = [tensor.clone().requires_grad_() for tensor in tensors]
    y = run(*tensors, *arguments[3:])
    grads = torch.autograd.grad(y, tensors, grad_y.to(dtype))
    return (y.detach() if chosen is None else y.detach()[chosen], *grads)


def _error(value: Tensor, want: Tensor) -> float:
    return float((value.double() - want).norm() / want.norm().clamp(min=1e-30))
