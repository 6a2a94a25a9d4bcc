"""Speed of one layer: fast feedforward against every dense implementation on this machine."""

import math
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field, replace
from functools import cache
from itertools import product
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ultrafastbert.bench import blas, machine
from ultrafastbert.bench.gate import find_truth
from ultrafastbert.bench.implementations import (
    Case,
    Implementation,
    dense_implementations,
    fast_implementations,
)
from ultrafastbert.bench.roofline import LayerCall, count_rows, roofline_us
from ultrafastbert.bench.timing import (
    OtherLoad,
    Timing,
    check_threads,
    default_threads,
    interleave,
    use_threads,
)
from ultrafastbert.fff import tree
from ultrafastbert.fff.layer import FastFeedForward
from ultrafastbert.fff.machine import check_memory
from ultrafastbert.kernels import native
from ultrafastbert.rows.files import append_row
from ultrafastbert.rows.layers import LayerRow, LayerTime, MachineRow, SkippedRow
from ultrafastbert.rows.row import Row
from ultrafastbert.runs.outputs import check_file

PASSES = ("forward", "forward+backward")
CACHES = ("hot", "fresh", "cold")
OnProgress = Callable[[int, int, str], None]  # cases done, cases in all, what comes next

# Tokens of the inputs that rotate: enough to visit nearly all leaves of a tree of depth 11.
ROTATED_TOKENS = 4096
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
        cache: of `hot` (the same input in every call), `fresh` (inputs rotate, so that nearly all
            leaves are visited) and `cold` (so, and the caches are emptied before each call).
        seconds: budget of a case, for all implementations together.
        seed: of weights and tokens.
    """

    family: str = "1x11"
    hidden_size: int = 768
    n_tokens: tuple[int, ...] = (1, 16, 128, 1024, 16384)
    passes: tuple[str, ...] = PASSES
    threads: tuple[int, ...] = field(default_factory=default_threads)
    cache: tuple[str, ...] = ("fresh",)
    seconds: float = 3.0
    seed: int = 0

    def __post_init__(self):
        n_trees, depth, leaf_size = tree.parse_family(self.family)
        tree.check_geometry(depth, leaf_size, n_trees)
        check_threads(self.threads)
        check_sizes(hidden_size=(self.hidden_size,), n_tokens=self.n_tokens)
        check_names("passes", self.passes, PASSES)
        check_names("cache", self.cache, CACHES)
        if self.seconds <= 0:
            raise ValueError(f"seconds={self.seconds} must be positive")
        rows = n_trees * tree.n_rows(depth, leaf_size)
        check_memory(WEIGHT_COPIES * rows * 2 * self.hidden_size, torch.float32, "cpu")
        check_memory(max(self.n_tokens) * self.hidden_size * 8, torch.float32, "cpu")


def bench_layer(
    config: LayerBenchConfig,
    on_progress: OnProgress | None = None,
    path: str | Path | None = None,
) -> list[Row]:
    """Time a layer and return the rows; each is appended to the file `path`, case by case.

    First come the machine's limits (rows of kind `machine`), from which the roofline of each case
    is computed. Every implementation is proven equal to the definition on the case's own shape
    before it is timed. Raises RuntimeError if one is not.
    """
    if path:
        check_file(path)
    rows: list[Row] = [
        append_row(path, row) if path else row for row in measure_machine(config.threads)
    ]
    for done, (label, case) in enumerate(_cases(config)):
        if on_progress:
            sizes = (config.n_tokens, config.passes, config.threads, config.cache)
            on_progress(done, math.prod(map(len, sizes)), label)
        with use_threads(case.threads), blas.one_thread():
            implementations = [*fast_implementations(case), *dense_implementations(case)]
            measured = measure(case, implementations, config.seconds, config.seed)
            rows.extend(append_row(path, row) if path else row for row in measured)
    return rows


def measure_machine(threads: tuple[int, ...]) -> list[MachineRow]:
    """Return the rows of the machine's limits; none without the native core."""
    return [machine.measure(n) for n in threads] if machine.is_available() else []


def _cases(config: LayerBenchConfig) -> Iterator[tuple[str, Case]]:
    family = tree.parse_family(config.family)
    layer = build_layer(family, config.hidden_size, config.seed)
    for n_tokens in config.n_tokens:
        rotation = build_inputs(n_tokens, config.hidden_size, config.seed)
        truth = find_truth(layer, rotation)
        for pass_name, state, threads in product(config.passes, config.cache, config.threads):
            label = f"{pass_name}, {n_tokens} tokens, {state}, threads: {threads}"
            yield label, Case(layer, pass_name, state, rotation, truth, threads)


def build_layer(family: tree.Family, hidden_size: int, seed: int) -> FastFeedForward:
    """Return a layer with random weights in float32."""
    torch.manual_seed(seed)
    return FastFeedForward(hidden_size, family.depth, family.n_trees, family.leaf_size)


def build_inputs(n_tokens: int, hidden_size: int, seed: int) -> list[Tensor]:
    """Return the inputs (T, H) that rotate: two at least, and `ROTATED_TOKENS` tokens."""
    torch.manual_seed(seed + 1)
    return list(torch.randn(max(2, -(-ROTATED_TOKENS // n_tokens)), n_tokens, hidden_size))


def measure(
    case: Case,
    implementations: list[Implementation],
    seconds: float,
    seed: int,
    row: type[LayerTime] = LayerRow,
) -> Iterator[LayerTime | SkippedRow]:
    """Time the implementations of a case in turn and yield a row for each."""
    runs = {each.name: each.run for each in implementations if each.run}
    load = OtherLoad()
    with torch.inference_mode(case.is_forward):
        timings = interleave(runs, seconds, _flush() if case.cache == "cold" else None)
    shared = {**_case_fields(case), "seed": seed, "other_load": load.share()}
    call = _call(case) if machine.is_available() else None
    for each in implementations:
        fields = {**shared, **_implementation_fields(each)}
        if each.skipped:
            yield SkippedRow(**fields, benchmark=row.kind, reason=each.skipped)
            continue
        fields |= _timing_fields(each.name, timings, case.n_tokens)
        if each.role == "fff" and call:
            limits = machine.measure(case.threads)
            least = roofline_us(limits, replace(call, weight_bytes=each.weight_bytes))
            fields |= {"roofline_us": least, "roofline_fraction": least / fields["us_per_token"]}
        yield row(**fields)


def _call(case: Case) -> LayerCall:
    """Return what a call of a case computes and moves at the least, in float32."""
    layer = case.layer
    with torch.inference_mode():
        ranks, n_calls = count_rows(layer, case.inputs)
    return LayerCall(
        n_tokens=case.n_tokens,
        hidden_size=layer.hidden_size,
        output_size=layer.output_size,
        n_active=layer.n_active,
        n_rows=layer.n_neurons,
        ranks=ranks,
        n_calls=n_calls,
        live_tokens=case.n_tokens * len(case.inputs),
        cold=case.cache == "cold",
        backward=not case.is_forward,
    )


@cache
def _flush() -> machine.CacheFlush:
    return machine.CacheFlush()


def _case_fields(case: Case) -> dict[str, Any]:
    layer = case.layer
    leaves = layer.visited_leaves(torch.cat(case.inputs))  # (all tokens, K)
    return {
        "family": str(tree.Family(layer.n_trees, layer.depth, layer.leaf_size)),
        "hidden_size": layer.hidden_size,
        "n_active": layer.n_active,
        "pass_name": case.pass_name,
        "n_tokens": case.n_tokens,
        "cache": case.cache,
        "threads": case.threads,
        "n_inputs": len(case.inputs),
        "distinct_leaves": sum(len(leaves[:, k].unique()) for k in range(layer.n_trees)),
        "n_leaves": layer.n_trees * tree.n_leaves(layer.depth),
    }


def _implementation_fields(chosen: Implementation) -> dict[str, Any]:
    is_native = chosen.implementation == "native"
    fields: dict[str, Any] = {
        "role": chosen.role,
        "implementation": chosen.implementation,
        "precision": chosen.precision,
        "n_neurons": chosen.n_neurons,
        "instruction_set": native.instruction_set() if is_native else None,
    }
    return fields | (asdict(chosen.agreement) if chosen.agreement else {})


def _timing_fields(name: str, timings: dict[str, Timing], n_tokens: int) -> dict[str, Any]:
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


def check_names(field_name: str, given: tuple[str, ...], known: tuple[str, ...]) -> None:
    """Raise ValueError unless there is a name given and all are known."""
    if not given or set(given) - set(known):
        wrong = sorted(set(given) - set(known)) or "()"
        raise ValueError(f"{field_name}={wrong} unknown; choose of {', '.join(known)}")


def check_sizes(**sizes: tuple[int, ...]) -> None:
    """Raise ValueError unless every field has sizes, and all are at least 1."""
    for name, values in sizes.items():
        if not values or min(values) < 1:
            raise ValueError(f"{name}={values} must be at least 1")
