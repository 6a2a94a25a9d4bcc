"""Implementations of the layers of a case, proven equal, then ready to be timed."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cached_property

import torch
from torch import Tensor

from ultrafastbert.bench import baselines
from ultrafastbert.bench.fast import FastImplementation, FastRun, available_fast
from ultrafastbert.bench.gate import Agreement, Truth, agree, check_agreement, expect, prove
from ultrafastbert.fff.dense import FeedForward
from ultrafastbert.fff.layer import FastFeedForward

# An implementation whose activations need more than this is left out, with a row that says so.
MAX_ACTIVATION_BYTES = 2**31
# Bytes of activations per token and neuron, (masked, dense), as counted in their code.
BYTES_PER_NEURON = {"forward": (16, 8), "forward+backward": (32, 16)}

Run = Callable[[int], object]  # called with a number that chooses among the inputs


@dataclass(frozen=True)
class Implementation:
    """A way to compute a layer, in one case."""

    role: str  # fff, dense (as wide as all neurons), ff_active (as wide as the active ones)
    implementation: str
    precision: str
    n_neurons: int
    run: Run | None = None  # None: left out
    skipped: str | None = None  # why
    weight_bytes: int = 4
    agreement: Agreement | None = None  # with the definition, of fast feedforward layers

    @property
    def name(self) -> str:
        """Unique name within a case."""
        return f"{self.role} {self.implementation} {self.precision}"


@dataclass(frozen=True)
class Case:
    """One measurement: all implementations on the same inputs.

    Attributes:
        layer: in float32.
        pass_name: forward or forward+backward.
        cache: hot (one input, again and again), fresh (inputs rotate) or cold (so, with the caches
            emptied before each call).
        rotation: inputs of (T, H).
        truth: what the definition gives for some of them.
        threads: number of threads that PyTorch uses.
    """

    layer: FastFeedForward
    pass_name: str
    cache: str
    rotation: list[Tensor] = field(repr=False)
    truth: Truth = field(repr=False)
    threads: int

    @property
    def n_tokens(self) -> int:
        """Tokens of a call."""
        return len(self.rotation[0])

    @cached_property
    def inputs(self) -> list[Tensor]:
        """Inputs that implementations are called with in turn."""
        return self.rotation[:1] if self.cache == "hot" else self.rotation

    @property
    def is_forward(self) -> bool:
        """Whether only the forward pass is timed."""
        return self.pass_name == "forward"


def fast_implementations(case: Case) -> Iterator[Implementation]:
    """Yield every implementation of the case's layer, proven equal to the definition.

    Raises RuntimeError if one is not.
    """
    for chosen in available_fast(case.layer, case.threads):
        if case.is_forward or chosen.trains:
            yield fast_implementation(chosen, case)


def fast_implementation(chosen: FastImplementation, case: Case) -> Implementation:
    """Return one implementation of the case's layer, proven; RuntimeError if it is wrong."""
    fields = ("fff", chosen.name, chosen.precision, case.layer.n_neurons)
    if chosen.skipped:
        return Implementation(*fields, skipped=chosen.skipped)
    if chosen.name == "masked" and not _fits(case, case.layer.n_neurons, masked=True):
        return Implementation(*fields, skipped=_too_large())
    fast = chosen.build(case.layer)
    found = agree(fast.route, case.truth)
    check_agreement(" ".join(fields[:3]), found, case.truth, chosen.tolerance, chosen.min_routing)
    if not case.is_forward:
        prove(chosen.name, case.layer, expect(case.layer, case.rotation[0]), backward=True)
    run = _forward(fast.run, case.inputs, chosen.dtype) if case.is_forward else _step(fast, case)
    return Implementation(*fields, run, weight_bytes=chosen.weight_bytes, agreement=found)


def _forward(layer: Callable[[Tensor], Tensor], tokens: list[Tensor], dtype: torch.dtype) -> Run:
    inputs = [x.to(dtype) for x in tokens]
    return lambda i: layer(inputs[i % len(inputs)])


def _step(fast: FastRun, case: Case) -> Run:
    inputs, grad_y = case.inputs, torch.randn(case.n_tokens, case.layer.output_size)

    def run(i: int) -> object:
        x = inputs[i % len(inputs)].detach().requires_grad_()
        return torch.autograd.grad(fast.run(x), [x, *fast.parameters], grad_y)

    return run


def dense_implementations(case: Case) -> Iterator[Implementation]:
    """Yield every dense layer, as wide as all neurons and as the active ones.

    Raises RuntimeError if one does not compute what PyTorch's float32 does.
    """
    widths = {"dense": case.layer.n_neurons, "ff_active": case.layer.n_active}
    for role, width in widths.items():
        yield from dense_layers(role, width, case)


def dense_layers(
    role: str, width: int, case: Case, left_out: Callable[[str], str | None] = lambda name: None
) -> Iterator[Implementation]:
    """Yield every dense layer of one width, but those for which `left_out` has a reason."""
    layer = FeedForward(case.layer.hidden_size, width)
    too_large = None if _fits(case, width) else _too_large()
    chosen_from: list = (
        baselines.available_dense(case.threads)
        if case.is_forward
        else baselines.available_trainings()
    )
    build = _dense_run if case.is_forward else _training_run
    for chosen in chosen_from:
        fields = (role, chosen.name, chosen.precision, width)
        reason = too_large or left_out(Implementation(*fields).name)
        run = None if reason else build(chosen, layer, case)
        yield Implementation(*fields, run, reason)


def _dense_run(dense: baselines.DenseImplementation, layer: FeedForward, case: Case) -> Run:
    run = dense.build(layer, case.n_tokens)
    baselines.prove_dense(dense, run, layer, case.rotation[0])
    return _forward(run, case.inputs, dense.dtype)


def _training_run(training: baselines.DenseTraining, layer: FeedForward, case: Case) -> Run:
    own = FeedForward(case.layer.hidden_size, layer.intermediate_size)
    own.load_state_dict(layer.state_dict())
    step = baselines.build_training(training, own)
    inputs = [x.to(training.dtype) for x in case.inputs]
    grad_y = torch.randn(case.n_tokens, case.layer.hidden_size, dtype=training.dtype)
    return lambda i: step(inputs[i % len(inputs)], grad_y)


def _fits(case: Case, n_neurons: int, masked: bool = False) -> bool:
    n_bytes = BYTES_PER_NEURON[case.pass_name][0 if masked else 1]
    return case.n_tokens * n_neurons * n_bytes <= MAX_ACTIVATION_BYTES


def _too_large() -> str:
    limit = f"{MAX_ACTIVATION_BYTES / 2**30:.0f} GiB"
    return f"its activations would need more than {limit}"
