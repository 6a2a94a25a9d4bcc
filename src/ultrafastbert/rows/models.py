"""Rows of whole models: their times, beside dense ones or beside the original, and their size."""

from dataclasses import dataclass
from typing import ClassVar

from ultrafastbert.rows.conversion import OfConversion
from ultrafastbert.rows.row import Row, Score, Spread


@dataclass(frozen=True, kw_only=True)
class ModelRow(Row):
    """The time of a whole model of random weights, of `bench model`.

    Attributes:
        family: KxD or KxDxL of the fast feedforward layers in question.
        hidden_size, num_hidden_layers, vocab_size: sizes of the model.
        pass_name: forward (the encoder) or training (a step with the optimizer).
        batch, sequence, n_tokens: texts of a call, tokens of a text, and their product.
        threads: number of threads.
        seed: of weights and tokens.
        other_load: share of the machine that other programs used meanwhile, 0 to 1.
        variant: fff, fff_masked, ff (as wide as all neurons), ff_active (as the active ones), none.
        implementation, precision: how linear layers are computed, or which engine runs the model.
        ffn: the variant's layer.
        kernel: of its fast feedforward layers.
        n_active, n_neurons: of each of its layers.
        n_parameters: of the model.
        latency_ms: of a call, median over the rounds; `_low` and `_high` are the 10th and the 90th
            percentile.
        tokens_per_s: by the median.
        rounds, calls: of the measurement, and of each round.
        fastest_dense: name of the fastest dense one (ff) of the case.
        speedup_over: how many times faster than the others of the case, by name.
    """

    kind: ClassVar[str] = "model"

    family: str
    hidden_size: int
    num_hidden_layers: int
    vocab_size: int
    pass_name: str
    batch: int
    sequence: int
    n_tokens: int
    threads: int
    seed: int
    other_load: float
    variant: str
    implementation: str
    precision: str
    ffn: str
    kernel: str | None = None
    n_active: int
    n_neurons: int
    n_parameters: int
    latency_ms: float
    latency_ms_low: float
    latency_ms_high: float
    tokens_per_s: float
    rounds: int
    calls: int
    fastest_dense: str
    speedup_over: dict[str, Spread]

    @property
    def name(self) -> str:
        """What is timed, unique within a case: `fff eager float32`."""
        return f"{self.variant} {self.implementation} {self.precision}"


@dataclass(frozen=True, kw_only=True)
class EncoderTimes(Row):
    """Times of an encoder on one text (`text`) and on a batch of shorter ones (`batch`).

    Attributes:
        latency_text_ms, latency_batch_ms: medians.
        speedup_text, speedup_batch: over the original in PyTorch's eager float32.
        other_load_text, other_load_batch: share of the machine that other programs used, 0 to 1.
    """

    latency_text_ms: float
    speedup_text: Spread
    other_load_text: float
    latency_batch_ms: float
    speedup_batch: Spread
    other_load_batch: float

    def latency_ms(self, shape: str) -> float:
        """Return the milliseconds at a shape, text or batch."""
        return {"text": self.latency_text_ms, "batch": self.latency_batch_ms}[shape]


@dataclass(frozen=True, kw_only=True)
class ConvertSpeedRow(EncoderTimes, OfConversion):
    """The time of a converted model, a control or the original, computed one way.

    Attributes:
        started: when the benchmark did; rows of one benchmark can be compared.
        model: fff, fff_int8, the name of a control, or teacher.
        implementation, precision: how linear layers are computed, or which engine runs the model.
        ffn: what is in its layers, where None is the original's; None for the original.
        weight_dtype: of fast feedforward layers.
        speedup_text_over_fastest, speedup_batch_over_fastest: over the original at its fastest.
        cosine_text, cosine_batch: mean cosine of texts' vectors to those of the model as it is.
    """

    kind: ClassVar[str] = "convert_speed"

    started: str
    model: str
    implementation: str
    precision: str
    ffn: tuple[str | None, ...] | None = None
    weight_dtype: str
    speedup_text_over_fastest: Spread
    speedup_batch_over_fastest: Spread
    cosine_text: float
    cosine_batch: float

    def speedup_over_fastest(self, shape: str) -> Spread:
        """Return the speed over the original at its fastest, at a shape, text or batch."""
        return {
            "text": self.speedup_text_over_fastest,
            "batch": self.speedup_batch_over_fastest,
        }[shape]


@dataclass(frozen=True, kw_only=True)
class QuantizeRow(Row):
    """What `quantize` changed of a model.

    Attributes:
        weight_dtype: of fast feedforward layers, afterwards.
        bytes_before, bytes: of all weights.
        n_texts: whose vectors were compared.
        cosine_mean, cosine_min: of the vectors before and after.
        scores_before, scores: of the model on tasks.
    """

    kind: ClassVar[str] = "quantize"

    weight_dtype: str
    bytes_before: int
    bytes: int
    n_texts: int
    cosine_mean: float
    cosine_min: float
    scores_before: tuple[Score, ...] = ()
    scores: tuple[Score, ...] = ()
