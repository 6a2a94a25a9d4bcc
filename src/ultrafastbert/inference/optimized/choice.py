"""The fastest way to compute a linear layer of some shape on this machine, found by timing."""

import math
import time
from dataclasses import dataclass
from functools import cache

import torch
from torch import Tensor

from ultrafastbert.inference.optimized.backends import (
    TOLERANCE,
    LinearImplementation,
    Run,
    available_linears,
)

# What the products may be rounded to: the fastest may be more precise, never less.
ALLOWED = {
    "fp32": ("float32",),
    "bf16": ("float32", "bfloat16"),
    "int8": ("float32", "bfloat16", "int8"),
}
# Tokens of a call: a short text, a long one, a batch. All count alike.
N_TOKENS = (16, 128, 1024)
# Wide outputs, such as logits over a vocabulary, are timed with fewer tokens: 32 MiB of float32.
MOST_VALUES = 2**23
# A less precise way must need at most this share of the time: less is the clock's noise.
TIE = 0.95
# Rounds in which all take turns, and the seconds after which there are no more.
MIN_ROUNDS, MAX_ROUNDS = 3, 15
SECONDS = 0.5


@dataclass(frozen=True)
class Choice:
    """How linear layers of one shape are computed.

    Attributes:
        in_features, out_features: the shape.
        linear: the fastest implementation.
        speedups: tokens of a call, and how many times as fast as eager float32.
    """

    in_features: int
    out_features: int
    linear: LinearImplementation
    speedups: tuple[tuple[int, float], ...]

    def __str__(self) -> str:
        times = ", ".join(f"{speedup:.1f}x" for _, speedup in self.speedups)
        tokens = ", ".join(str(n_tokens) for n_tokens, _ in self.speedups)
        return (
            f"{self.in_features} -> {self.out_features}: {self.linear}, {times} as fast as eager "
            f"float32 with {tokens} tokens"
        )


def fastest_linear(in_features: int, out_features: int, has_bias: bool, precision: str) -> Choice:
    """Return the fastest way to compute x W^T + b in at least this precision: fp32, bf16 or int8.

    With PyTorch's present number of threads. All ways are timed in turn, on random values, after
    they were compared with float32; it takes a second or two for a large layer. A way wins by the
    geometric mean of its times over `N_TOKENS`, and against a more precise one only by 5 %. Found
    once in a process for each shape.
    """
    return _fastest(in_features, out_features, has_bias, precision, torch.get_num_threads())


@cache
def _fastest(
    in_features: int, out_features: int, has_bias: bool, precision: str, threads: int
) -> Choice:
    generator = torch.Generator().manual_seed(0)
    weight = torch.randn(out_features, in_features, generator=generator) / in_features**0.5
    bias = torch.randn(out_features, generator=generator) if has_bias else None
    largest = MOST_VALUES // max(in_features, out_features)
    counts = [n for n in N_TOKENS if n <= largest] or [1]
    inputs = {n: torch.randn(n, in_features, generator=generator) for n in counts}
    linears = [each for each in available_linears() if each.precision in ALLOWED[precision]]
    with torch.inference_mode():
        runs = _correct_runs(linears, weight, bias, inputs[counts[0]])
        seconds = {n: _time(runs, x) for n, x in inputs.items()}
    eager = linears[0]
    best = _choose(list(runs), seconds)
    speedups = tuple((n, times[eager] / times[best]) for n, times in seconds.items())
    return Choice(in_features, out_features, best, speedups)


def _correct_runs(
    linears: list[LinearImplementation], weight: Tensor, bias: Tensor | None, x: Tensor
) -> dict[LinearImplementation, Run]:
    """Return what computes the layer in each way, without those that compute something else."""
    expected, runs = torch.nn.functional.linear(x, weight, bias), {}
    for linear in linears:
        run = _casting(linear.pack(weight, bias, None, False).run, linear.dtype)
        error = float((run(x) - expected).norm() / expected.norm())
        if error <= TOLERANCE[linear.precision]:
            runs[linear] = run
    return runs


def _casting(run: Run, dtype: torch.dtype) -> Run:
    return lambda x: run(x.to(dtype)).to(x.dtype)


def _time(runs: dict[LinearImplementation, Run], x: Tensor) -> dict[LinearImplementation, float]:
    """Return the shortest time of a call, in seconds."""
    times = dict.fromkeys(runs, math.inf)
    end = time.perf_counter() + SECONDS
    for n_round in range(MAX_ROUNDS):
        if n_round >= MIN_ROUNDS and time.perf_counter() > end:
            break
        for linear, run in runs.items():
            started = time.perf_counter()
            run(x)
            times[linear] = min(times[linear], time.perf_counter() - started)
    return times


def _choose(
    linears: list[LinearImplementation], seconds: dict[int, dict[LinearImplementation, float]]
) -> LinearImplementation:
    """Return the one of the least mean time; earlier ones win ties."""
    means = {x: math.prod(times[x] for times in seconds.values()) for x in linears}
    best = linears[0]
    for linear in linears[1:]:
        if means[linear] < TIE ** len(seconds) * means[best]:
            best = linear
    return best
