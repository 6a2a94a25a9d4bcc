"""Rows of benchmarks of a layer: times, what was left out, the machine's limits, thresholds."""

from dataclasses import dataclass
from typing import ClassVar

from ultrafastbert.rows.row import Row, Spread


@dataclass(frozen=True, kw_only=True)
class LayerCase(Row):
    """One implementation in one case.

    Attributes:
        family: KxD or KxDxL, of the fast feedforward layer in question.
        hidden_size: size of a token.
        n_active: neurons that a token visits in that layer.
        pass_name: forward or forward+backward.
        n_tokens: tokens of a call.
        cache: what the caches hold before a call: hot (the same input), fresh (inputs rotate) or
            cold (emptied).
        threads: that PyTorch computes with.
        n_inputs: that rotate.
        distinct_leaves, n_leaves: visited by all inputs together, of all there are.
        seed: of weights and tokens.
        other_load: share of the machine that other programs used meanwhile, 0 to 1.
        role: fff, dense (as wide as all neurons) or ff_active (as wide as the active ones).
        implementation: how it is computed, such as native, eager or blas1.
        precision: float32, or what is narrower.
        n_neurons: of this layer.
        instruction_set: of the native core, where that computes.
    """

    family: str
    hidden_size: int
    n_active: int
    pass_name: str
    n_tokens: int
    cache: str
    threads: int
    n_inputs: int
    distinct_leaves: int
    n_leaves: int
    seed: int
    other_load: float
    role: str
    implementation: str
    precision: str
    n_neurons: int
    instruction_set: str | None = None

    @property
    def name(self) -> str:
        """What is timed, unique within a case: `fff native float32`."""
        return f"{self.role} {self.implementation} {self.precision}"


@dataclass(frozen=True, kw_only=True)
class LayerTime(LayerCase):
    """The time of one implementation in one case.

    Attributes:
        relative_error: of the output, against the definition, of fast feedforward layers.
        routing_agreement: share of their paths that are the definition's, 0 to 1.
        latency_us: of a call, median over the rounds; `_low` and `_high` are the 10th and the 90th
            percentile.
        us_per_token: the median over the tokens of a call.
        rounds, calls: of the measurement, and of each round.
        fastest_dense: name of the fastest dense implementation of the case, if any was timed.
        speedup_over: how many times faster than the others of the case, by name.
        roofline_us: least time of a token that the machine's limits allow.
        roofline_fraction: that over `us_per_token`, 0 to 1.
    """

    latency_us: float
    latency_us_low: float
    latency_us_high: float
    us_per_token: float
    rounds: int
    calls: int
    fastest_dense: str | None
    speedup_over: dict[str, Spread]
    relative_error: float | None = None
    routing_agreement: float | None = None
    roofline_us: float | None = None
    roofline_fraction: float | None = None


@dataclass(frozen=True, kw_only=True)
class LayerRow(LayerTime):
    """The time of a layer, of `bench layer`."""

    kind: ClassVar[str] = "layer"


@dataclass(frozen=True, kw_only=True)
class WidthRow(LayerTime):
    """The time of a layer of one of several widths, of `bench width`."""

    kind: ClassVar[str] = "width"


@dataclass(frozen=True, kw_only=True)
class SkippedRow(LayerCase):
    """An implementation that was not timed.

    Attributes:
        benchmark: kind of the rows beside it: layer or width.
        reason: why.
    """

    kind: ClassVar[str] = "skipped"

    benchmark: str
    reason: str


@dataclass(frozen=True, kw_only=True)
class MachineRow(Row):
    """What a number of threads of this machine can do at most, all threads together.

    Attributes:
        threads: number of threads.
        fma_per_s: float32 FMAs (multiply-adds) in registers.
        l2_bytes, llc_bytes: capacity of the threads' own L2 caches, and of the last level.
        l2_bytes_per_s, llc_bytes_per_s, dram_bytes_per_s: read from a working set that lives there.
        write_bytes_per_s: written to memory by non-temporal stores.
    """

    kind: ClassVar[str] = "machine"

    threads: int
    fma_per_s: float
    l2_bytes: int
    l2_bytes_per_s: float
    llc_bytes: int
    llc_bytes_per_s: float
    dram_bytes_per_s: float
    write_bytes_per_s: float


@dataclass(frozen=True, kw_only=True)
class ThresholdRow(Row):
    """The time of the native core with one value of one of its thresholds.

    Attributes:
        constant: its name in the core's `blocks.h`.
        family, hidden_size, n_tokens, pass_name, threads: the case, as in `LayerCase`.
        rounds: of the measurement.
        value, chosen: of the constant, and whether the core has that one.
        us_per_token: median over the rounds; `_low` and `_high` are the 10th and 90th percentile.
        time_over_chosen: this time over that with the value chosen.
    """

    kind: ClassVar[str] = "threshold"

    constant: str
    family: str
    hidden_size: int
    n_tokens: int
    pass_name: str
    threads: int
    rounds: int
    value: int
    chosen: bool
    us_per_token: float
    us_per_token_low: float
    us_per_token_high: float
    time_over_chosen: Spread
