"""Speed of one layer: fast feedforward against every dense implementation on this machine."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor

from ultrafastbert import ops, tree
from ultrafastbert.bench import baselines
from ultrafastbert.bench.gate import Expectation, expect, prove
from ultrafastbert.bench.timing import (
    OtherLoad,
    Timing,
    check_threads,
    default_threads,
    interleave,
    use_threads,
)
from ultrafastbert.kernels import KERNELS, Kernel, native
from ultrafastbert.layers import FastFeedForward, FeedForward, check_memory
from ultrafastbert.rows import Row, append_row

PASSES = ("forward", "forward+backward")
OnProgress = Callable[[int, int, str], None]  # cases done, cases in all, what comes next

# Tokens of the inputs that rotate: few tokens need many inputs to take different paths.
ROTATED_TOKENS = 1024
# A contestant whose activations need more than this is left out, with a row that says so.
MAX_ACTIVATION_BYTES = 2**31
# Bytes of activations per token and neuron, (masked, dense), as counted in their code.
BYTES_PER_NEURON = {"forward": (16, 8), "forward+backward": (32, 16)}
# Copies of the dense weights that are alive at once, in float32: packed, converted, gradients.
WEIGHT_COPIES = 8


@dataclass(frozen=True)
class LayerBenchConfig:
    """What to time.

    Attributes:
        family: KxD or KxDxL, such as 1x11 or 1x7x8.
        hidden_size: size of a token.
        n_tokens: tokens of a call, each a case.
        passes: of `forward` and `forward+backward`.
        threads: numbers of threads; by default one and as many as PyTorch uses.
        seconds: budget of a case, for all contestants together.
        seed: of weights and tokens.
    """

    family: str = "1x11"
    hidden_size: int = 768
    n_tokens: tuple[int, ...] = (1, 16, 128, 1024, 4096, 16384)
    passes: tuple[str, ...] = PASSES
    threads: tuple[int, ...] = field(default_factory=default_threads)
    seconds: float = 3.0
    seed: int = 0

    def __post_init__(self):
        n_trees, depth, leaf_size = tree.parse_family(self.family)
        ops.check_geometry(depth, leaf_size, n_trees)
        check_threads(self.threads)
        for name, sizes in {"hidden_size": (self.hidden_size,), "n_tokens": self.n_tokens}.items():
            if not sizes or min(sizes) < 1:
                raise ValueError(f"{name}={sizes} must be at least 1")
        if unknown := set(self.passes) - set(PASSES):
            raise ValueError(f"passes={sorted(unknown)} unknown; choose of {', '.join(PASSES)}")
        if self.seconds <= 0:
            raise ValueError(f"seconds={self.seconds} must be positive")
        rows = n_trees * tree.n_rows(depth, leaf_size)
        check_memory(WEIGHT_COPIES * rows * 2 * self.hidden_size, torch.float32, "cpu")
        check_memory(max(self.n_tokens) * self.hidden_size * 8, torch.float32, "cpu")


@dataclass(frozen=True)
class Contestant:
    """One implementation in one case."""

    role: str  # fff, dense (as wide as all neurons), ff_active (as wide as the active ones)
    implementation: str
    precision: str
    n_neurons: int
    run: Callable[[int], object] | None  # None: left out for want of memory

    @property
    def name(self) -> str:
        """Unique name within a case."""
        return f"{self.role} {self.implementation} {self.precision}"


@dataclass(frozen=True)
class Case:
    """One measurement: all contestants on the same inputs."""

    layer: FastFeedForward
    pass_name: str
    inputs: list[Tensor]  # of (T, H)
    expected: Expectation

    @property
    def n_tokens(self) -> int:
        """Tokens of a call."""
        return len(self.inputs[0])


def bench_layer(
    config: LayerBenchConfig,
    on_progress: OnProgress | None = None,
    path: str | Path | None = None,
) -> list[Row]:
    """Time a layer and return the rows; each is appended to the file `path`, case by case.

    Every kernel is proven equal to the definition on the case's own shape before it is timed.
    Raises RuntimeError if one is not.
    """
    rows: list[Row] = []
    cases = _cases(config)
    for done, (label, case, threads) in enumerate(cases):
        if on_progress:
            total = len(config.n_tokens) * len(config.passes) * len(config.threads)
            on_progress(done, total, label)
        with use_threads(threads):
            measured = _measure(case, config)
            rows.extend(append_row(path, row) if path else row for row in measured)
    return rows


def _cases(config: LayerBenchConfig) -> Iterator[tuple[str, Case, int]]:
    layer = _layer(config)
    for n_tokens in config.n_tokens:
        inputs = _inputs(n_tokens, config)
        expected = expect(layer, inputs[0])
        for pass_name in config.passes:
            case = Case(layer, pass_name, inputs, expected)
            for threads in config.threads:
                yield f"{pass_name}, {n_tokens} tokens, threads: {threads}", case, threads


def _layer(config: LayerBenchConfig) -> FastFeedForward:
    n_trees, depth, leaf_size = tree.parse_family(config.family)
    torch.manual_seed(config.seed)
    return FastFeedForward(config.hidden_size, depth, n_trees, leaf_size)


def _inputs(n_tokens: int, config: LayerBenchConfig) -> list[Tensor]:
    torch.manual_seed(config.seed + 1)
    n_inputs = max(2, ROTATED_TOKENS // n_tokens)
    return list(torch.randn(n_inputs, n_tokens, config.hidden_size))


def _measure(case: Case, config: LayerBenchConfig) -> Iterator[Row]:
    contestants = {c.name: c for c in [*_fast_contestants(case), *_dense_contestants(case)]}
    runs = {name: c.run for name, c in contestants.items() if c.run}
    load = OtherLoad()
    with torch.inference_mode(case.pass_name == "forward"):
        timings = interleave(runs, config.seconds)
    shared = {**_shared_fields(case, config), "other_load": load.share()}
    for name, contestant in contestants.items():
        row = {**shared, **_contestant_fields(contestant)}
        if name in timings:
            yield {**row, **_timing_fields(name, timings, case.n_tokens)}
        else:
            limit = f"{MAX_ACTIVATION_BYTES / 2**30:.0f} GiB"
            yield {**row, "skipped": f"its activations would need more than {limit}"}


def _fast_contestants(case: Case) -> Iterator[Contestant]:
    layer = case.layer
    for kernel in KERNELS.values():
        if not kernel.is_available() or not kernel.supports("cpu", torch.float32, layer.depth):
            continue
        run = None
        if kernel.name != "masked" or _fits(case, layer.n_neurons, masked=True):
            prove(kernel.name, layer, case.expected, case.pass_name != "forward")
            run = _fast_run(case, kernel)
        yield Contestant("fff", kernel.name, "float32", layer.n_neurons, run)


def _fast_run(case: Case, kernel: Kernel) -> Callable[[int], object]:
    layer, inputs = case.layer, case.inputs
    w_in, b_in, w_out = (w.detach() for w in (layer.w_in, layer.b_in, layer.w_out))
    options = (layer.depth, layer.leaf_size, layer.activation, layer.node_output, kernel.name)
    if case.pass_name == "forward":
        return lambda i: ops.fast_feedforward(inputs[i % len(inputs)], w_in, b_in, w_out, *options)
    weights = [w.requires_grad_() for w in (w_in, b_in, w_out)]
    grad_y = torch.randn(case.n_tokens, layer.output_size)

    def run(i: int) -> object:
        x = inputs[i % len(inputs)].detach().requires_grad_()
        y = ops.fast_feedforward(x, w_in, b_in, w_out, *options)
        return torch.autograd.grad(y, [x, *weights], grad_y)

    return run


def _dense_contestants(case: Case) -> Iterator[Contestant]:
    widths = {"dense": case.layer.n_neurons, "ff_active": case.layer.n_active}
    build = _forward_run if case.pass_name == "forward" else _training_run
    implementations: list = (
        baselines.available_linears()
        if case.pass_name == "forward"
        else baselines.available_trainings()
    )
    for role, width in widths.items():
        layer = FeedForward(case.layer.hidden_size, width)
        for chosen in implementations:
            run = build(chosen, layer, case) if _fits(case, width) else None
            yield Contestant(role, chosen.name, chosen.precision, width, run)


def _forward_run(
    linear: baselines.LinearImplementation, layer: FeedForward, case: Case
) -> Callable[[int], object]:
    dense = baselines.build_dense(linear, layer, case.n_tokens)
    baselines.prove_dense(linear, dense, layer, case.inputs[0])
    inputs = [x.to(linear.dtype) for x in case.inputs]
    return lambda i: dense(inputs[i % len(inputs)])


def _training_run(
    training: baselines.DenseTraining, layer: FeedForward, case: Case
) -> Callable[[int], object]:
    own = FeedForward(case.layer.hidden_size, layer.intermediate_size)
    own.load_state_dict(layer.state_dict())
    step = baselines.build_training(training, own)
    inputs = [x.to(training.dtype) for x in case.inputs]
    grad_y = torch.randn(case.n_tokens, case.layer.hidden_size, dtype=training.dtype)
    return lambda i: step(inputs[i % len(inputs)], grad_y)


def _fits(case: Case, n_neurons: int, masked: bool = False) -> bool:
    n_bytes = BYTES_PER_NEURON[case.pass_name][0 if masked else 1]
    return case.n_tokens * n_neurons * n_bytes <= MAX_ACTIVATION_BYTES


def _shared_fields(case: Case, config: LayerBenchConfig) -> Row:
    layer = case.layer
    leaves = layer.visited_leaves(torch.cat(case.inputs))  # (all tokens, K)
    distinct = sum(len(leaves[:, k].unique()) for k in range(layer.n_trees))
    return {
        "kind": "layer",
        "family": config.family,
        "hidden_size": layer.hidden_size,
        "n_active": layer.n_active,
        "pass": case.pass_name,
        "n_tokens": case.n_tokens,
        "threads": torch.get_num_threads(),
        "n_inputs": len(case.inputs),
        "distinct_leaves": distinct,
        "n_leaves": layer.n_trees * tree.n_leaves(layer.depth),
        "seed": config.seed,
    }


def _contestant_fields(contestant: Contestant) -> Row:
    row: Row = {
        "contestant": contestant.name,
        "role": contestant.role,
        "implementation": contestant.implementation,
        "precision": contestant.precision,
        "n_neurons": contestant.n_neurons,
    }
    if contestant.implementation == "native":
        row["instruction_set"] = native.instruction_set()
    return row


def _timing_fields(name: str, timings: dict[str, Timing], n_tokens: int) -> Row:
    timing = timings[name]
    dense = [other for other in timings if other.startswith("dense ")]
    return {
        "latency_us": timing.median * 1e6,
        "latency_us_low": timing.low * 1e6,
        "latency_us_high": timing.high * 1e6,
        "us_per_token": timing.median * 1e6 / n_tokens,
        "rounds": len(timing.seconds),
        "calls": timing.calls,
        "fastest_dense": min(dense, key=lambda other: timings[other].median, default=None),
        "speedup_over": {o: timing.speedup_over(t) for o, t in timings.items() if o != name},
    }
