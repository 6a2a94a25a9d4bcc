"""Time over the number of neurons: logarithmic for a tree, linear for a dense layer."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil
import torch

from ultrafastbert.bench import blas
from ultrafastbert.bench.fast import available_fast
from ultrafastbert.bench.gate import find_truth
from ultrafastbert.bench.implementations import (
    Case,
    Implementation,
    dense_layers,
    fast_implementation,
)
from ultrafastbert.bench.layer import (
    OnProgress,
    build_inputs,
    build_layer,
    check_sizes,
    measure,
    measure_machine,
)
from ultrafastbert.bench.timing import check_threads, use_threads
from ultrafastbert.fff import tree
from ultrafastbert.fff.machine import check_memory
from ultrafastbert.rows.files import append_row
from ultrafastbert.rows.layers import LayerTime, SkippedRow, WidthRow
from ultrafastbert.rows.row import Row
from ultrafastbert.runs.outputs import check_file

# Share of the memory that is free which a case may take.
MEMORY_SHARE = 0.8
# A layer, and the one before while it is made.
WEIGHT_COPIES = 2
# Bytes per weight of the float32 layer, its narrower copies, and one while it is narrowed.
FAST_BYTES = 12
# Bytes per weight of all dense implementations together: PyTorch's, BLAS's transposed and oneDNN's
# packed float32, two of bfloat16, three of int8, and what they are built from.
DENSE_BYTES = 26


@dataclass(frozen=True)
class WidthBenchConfig:
    """What to time.

    Attributes:
        depths: of one tree with leaves of one neuron each, which has 2^(D+1) - 1 neurons.
        hidden_size: size of a token.
        n_tokens: tokens of a call, each a case.
        threads: number of threads.
        seconds: budget of a case; a dense layer of which a call is expected to take longer is left
            out.
        seed: of weights and tokens.
    """

    depths: tuple[int, ...] = tuple(range(3, 20))
    hidden_size: int = 768
    n_tokens: tuple[int, ...] = (1, 128)
    threads: int = 1
    seconds: float = 3.0
    seed: int = 0

    def __post_init__(self):
        if not self.depths:
            raise ValueError("depths=() must hold at least one")
        for depth in self.depths:
            tree.check_geometry(depth, leaf_size=1)
        check_threads((self.threads,))
        check_sizes(hidden_size=(self.hidden_size,), n_tokens=self.n_tokens)
        if self.seconds <= 0:
            raise ValueError(f"seconds={self.seconds} must be positive")
        weights = tree.n_rows(max(self.depths), leaf_size=1) * 2 * self.hidden_size
        check_memory(WEIGHT_COPIES * weights, torch.float32, "cpu")


def bench_width(
    config: WidthBenchConfig,
    on_progress: OnProgress | None = None,
    path: str | Path | None = None,
) -> list[Row]:
    """Time trees of growing depth, and dense layers as wide; return rows of kind `width`.

    Forward only, inputs rotate (`fresh`). Dense layers are timed as far as they fit the memory and
    the budget. Raises RuntimeError for a layer that is computed wrongly; trees of more neurons than
    the definition can take are held to the kernel `gather`.
    """
    if path:
        check_file(path)
    rows: list[Row] = [
        append_row(path, row) if path else row for row in measure_machine((config.threads,))
    ]
    total = len(config.depths) * len(config.n_tokens)
    last: dict[tuple[int, str], float] = {}  # us of a call of each implementation, one width before
    for done, (label, case) in enumerate(_cases(config)):
        if on_progress:
            on_progress(done, total, label)
        with use_threads(config.threads), blas.one_thread():
            measured = _measure(case, config, last)
        rows.extend(append_row(path, row) if path else row for row in measured)
    return rows


def _measure(
    case: Case, config: WidthBenchConfig, last: dict[tuple[int, str], float]
) -> list[LayerTime | SkippedRow]:
    implementations = [*_fast(case), *_dense(case, config, last)]
    rows = list(measure(case, implementations, config.seconds, config.seed, WidthRow))
    for row in rows:
        micros = row.latency_us if isinstance(row, WidthRow) else float("inf")
        last[case.n_tokens, row.name] = micros
    return rows


def _cases(config: WidthBenchConfig) -> Iterator[tuple[str, Case]]:
    for depth in config.depths:
        layer = build_layer(tree.Family(1, depth, 1), config.hidden_size, config.seed)
        for n_tokens in config.n_tokens:
            rotation = build_inputs(n_tokens, config.hidden_size, config.seed)
            truth = find_truth(layer, rotation)
            label = f"{layer.n_neurons:,} neurons, {n_tokens} tokens"
            yield label, Case(layer, "forward", "fresh", rotation, truth, config.threads)


def _fits(case: Case, bytes_per_weight: int) -> bool:
    n_bytes = bytes_per_weight * case.layer.n_neurons * 2 * case.layer.hidden_size
    return n_bytes <= MEMORY_SHARE * psutil.virtual_memory().available


def _fast(case: Case) -> Iterator[Implementation]:
    """Yield the preferred kernel, the first of the table, in every precision that fits memory."""
    first, *others = available_fast(case.layer, case.threads)
    yield fast_implementation(first, case)
    for chosen in others:
        if chosen.name == first.name and _fits(case, FAST_BYTES):
            yield fast_implementation(chosen, case)


def _dense(
    case: Case, config: WidthBenchConfig, last: dict[tuple[int, str], float]
) -> Iterator[Implementation]:
    """Yield the dense layers as wide, as long as they fit the memory and the budget."""

    def left_out(name: str) -> str | None:
        expected = 2e-6 * last.get((case.n_tokens, name), 0.0)  # s, twice as wide as the last
        if expected <= config.seconds:
            return None
        return f"a call would take more than the budget of {config.seconds:g} s"

    if _fits(case, DENSE_BYTES):
        yield from dense_layers("dense", case.layer.n_neurons, case, left_out)
