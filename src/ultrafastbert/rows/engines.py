"""Rows of whole encoders in the engines that serve them."""

from dataclasses import dataclass
from typing import ClassVar

from ultrafastbert.rows.row import Row, Spread


@dataclass(frozen=True, kw_only=True)
class EngineCase(Row):
    """One way to run one model at one load, of `bench engines`.

    Attributes:
        started: when the measurement of this model did; rows of one can be compared.
        model: name of a shape such as bert-base, of random weights, or of the original's folder.
        digest: of the saved models' content; None for random weights.
        run_ffn: KxDxL of the fast feedforward layers in question; several are separated by commas.
        load: BATCHxTOKENS, or `texts`, real texts of mixed lengths, 64 a call.
        threads: that each engine was given.
        variant: fff, ff (the original; in a shape of ours, a dense layer of as many neurons),
            ff_active (dense, as wide as the active neurons) or none.
        ffn: what is in the variant's layers.
        engine, precision: what runs the model, and in what most products are computed.
        operator: of exported models: native (ours for trees, ONNX Runtime's for attention and
            norms) or standard.
        batching: of texts: `order` (padded to the longest as they come), `sorted` (batches of texts
            about as long) or `Encoder` (of ultrafastbert-runtime); None for BATCHxTOKENS.
    """

    started: str
    model: str
    digest: str | None = None
    run_ffn: str
    load: str
    threads: int
    variant: str
    ffn: str
    engine: str
    precision: str
    operator: str | None = None
    batching: str | None = None

    @property
    def way(self) -> tuple[str, str, str | None, str | None]:
        """How the model is run, whichever its variant."""
        return self.engine, self.precision, self.operator, self.batching


@dataclass(frozen=True, kw_only=True)
class EngineRow(EngineCase):
    """The cost of one model, run one way, in a process of its own.

    Attributes:
        n_texts, n_tokens: of a call, padding not counted, on average.
        latency_ms: of a call, median over all calls; `_low` and `_high` are the 10th and the 90th
            percentile.
        latency_ms_p99: 99th percentile; of fewer than 100 calls, about the slowest.
        first_ms: of the first call of this load.
        texts_per_s, tokens_per_s: by the median over rounds of the calls' mean.
        rounds, calls: of the measurement, and of each round.
        import_s, load_s: to import the engine, and to open the model.
        peak_bytes: most memory resident until the end of this load; imports, the model's weights
            and the loads before it are in it.
        file_bytes: of the model's files.
        cores_used: processor time over wall time while calls were timed: at most `threads`, unless
            an engine took more than it was given.
        cosine, cosine_least: of texts' vectors to those in PyTorch's float32, mean and least.
        other_load: share of the machine that other programs used meanwhile, 0 to 1.
        speed_over_none: over the variant none, run the same way.
        speed_over_original: over the variant ff at its fastest, in any engine and batching. What
            runs in PyTorch took no turns with what runs in other engines.
    """

    kind: ClassVar[str] = "engine"

    n_texts: float
    n_tokens: float
    latency_ms: float
    latency_ms_low: float
    latency_ms_high: float
    latency_ms_p99: float
    first_ms: float
    texts_per_s: float
    tokens_per_s: float
    rounds: int
    calls: int
    import_s: float
    load_s: float
    peak_bytes: int
    file_bytes: int
    cores_used: float
    cosine: float
    cosine_least: float
    other_load: float
    speed_over_none: Spread | None = None
    speed_over_original: Spread | None = None


@dataclass(frozen=True, kw_only=True)
class EngineSkippedRow(EngineCase):
    """A way to run a model that was not timed.

    Attributes:
        reason: why.
    """

    kind: ClassVar[str] = "engine_skipped"

    reason: str
