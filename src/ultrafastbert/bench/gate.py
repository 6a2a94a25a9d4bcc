"""Gate before clock: a kernel is proven equal to the definition on the shapes that are timed."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from ultrafastbert import kernels
from ultrafastbert.fff import ops, reference, tree
from ultrafastbert.fff.layer import FastFeedForward

# Tokens compared; the kernel runs on all of them, the definition would need too much memory.
GATE_TOKENS = 128
# Decisions closer to zero than this may go either way with the order of a sum in float32.
MARGIN = 1e-4
# A few roundings of float32, relative to the norm, for results that plain PyTorch gets exactly.
ROUNDING = 1e-6
# Layers with more neurons are held to the kernel `gather`, in float32: the definition, which
# computes all of them in float64, would need too much memory.
DEFINED_NEURONS = 2**16
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

    def run(x, w_in, b_in, w_out, spec) -> Tensor:
        return ops.fast_feedforward_with_leaf(x, w_in, b_in, w_out, spec, kernel)[0]

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
        if not _error(value, want) <= 2 * plain + ROUNDING:
            raise RuntimeError(
                f"kernel {kernel}: the {name} for {len(expected.x)} tokens is off by "
                f"{_error(value, want):.1e}, plain PyTorch by {plain:.1e}; it is not timed"
            )


@dataclass(frozen=True)
class Truth:
    """What the definition gives for some tokens of one or more calls, in float64."""

    calls: list[Tensor]  # of (T, H)
    chosen: Tensor  # (t), tokens compared, of all calls together
    y: Tensor  # (t, O)
    leaf: Tensor  # (t, K)
    plain_error: float  # of the definition in float32, relative


@dataclass(frozen=True)
class Agreement:
    """How well an implementation agrees with the definition.

    Attributes:
        relative_error: of the output, over the tokens that take the definition's path.
        routing_agreement: share of the paths, one a token and tree, that are the definition's.
    """

    relative_error: float
    routing_agreement: float


def find_truth(layer: FastFeedForward, inputs: list[Tensor]) -> Truth:
    """Evaluate the layer on `GATE_TOKENS` tokens of as many calls (T, H) as hold them."""
    calls = inputs[: -(-GATE_TOKENS // len(inputs[0]))]
    x = torch.cat(calls)
    chosen = torch.linspace(0, len(x) - 1, min(GATE_TOKENS, len(x))).long()
    if layer.n_neurons > DEFINED_NEURONS:
        with torch.inference_mode():
            gathered = kernels.gather.forward(x[chosen], *_arguments(layer, torch.float32))
        return Truth(calls, chosen, gathered[0].double(), gathered[1], ROUNDING)
    with torch.inference_mode():
        exact, plain = (
            reference_layer(x[chosen].to(dtype), *_arguments(layer, dtype))
            for dtype in (torch.float64, torch.float32)
        )
        logits = reference.all_logits(x[chosen].double(), layer.w_in.double(), layer.b_in.double())
    leaf = reference.route(logits, layer.depth)
    return Truth(calls, chosen, exact, leaf, _error(plain, exact))


def agree(route: Callable[[Tensor], tuple[Tensor, Tensor]], truth: Truth) -> Agreement:
    """Compare an implementation x (T, H) -> y (T, O), leaf (T, K) with the definition."""
    with torch.inference_mode():
        results = [route(x) for x in truth.calls]
    y, leaf = (torch.cat(parts)[truth.chosen] for parts in zip(*results, strict=True))
    same = leaf == truth.leaf
    whole = same.all(-1)  # another path is another function: its error says nothing
    error = _error(y[whole], truth.y[whole]) if whole.any() else float("inf")
    return Agreement(error, float(same.double().mean()))


def check_agreement(
    name: str, found: Agreement, truth: Truth, tolerance: float | None, min_routing: float
) -> None:
    """Raise RuntimeError if an output is off by more than the tolerance, or paths differ too often.

    Without a tolerance, the error is at most twice that of plain PyTorch in float32.
    """
    limit = 2 * truth.plain_error + ROUNDING if tolerance is None else tolerance
    if found.routing_agreement < min_routing:
        raise RuntimeError(
            f"{name}: {found.routing_agreement:.1%} of the paths are the definition's, "
            f"fewer than {min_routing:.0%}; it is not timed"
        )
    if not found.relative_error <= limit:
        raise RuntimeError(
            f"{name}: the output for {len(truth.calls[0])} tokens is off by "
            f"{found.relative_error:.1e}, more than {limit:.1e}; it is not timed"
        )


def reference_layer(x, w_in, b_in, w_out, spec) -> Tensor:
    """Compute the definition."""
    return reference.fast_feedforward_reference(x, w_in, b_in, w_out, spec)


def _is_clear(layer: FastFeedForward, x: Tensor) -> Tensor:
    """Which tokens decide by more than the margin on all of their paths: (t, H) -> (t) bool."""
    with torch.inference_mode():
        logits = reference.all_logits(x.double(), layer.w_in.double(), layer.b_in.double())
        nodes = tree.path_nodes(reference.route(logits, layer.depth), layer.depth)  # (t, K, D)
        return (logits.gather(-1, nodes).abs() > MARGIN).all(-1).all(-1)


def _arguments(layer: FastFeedForward, dtype: torch.dtype) -> tuple:
    weights = (w.detach().to(dtype) for w in (layer.w_in, layer.b_in, layer.w_out))
    return (*weights, layer.spec)


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
