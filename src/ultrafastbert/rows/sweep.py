"""Rows of sweeps: which candidate in which layer of an encoder."""

from dataclasses import dataclass
from typing import ClassVar

from ultrafastbert.rows.models import EncoderTimes
from ultrafastbert.rows.row import Row, Score

LayerChoice = tuple[str | None, ...]  # of each layer; None is the original's


@dataclass(frozen=True, kw_only=True)
class ConvertSweepRow(EncoderTimes):
    """A whole model of a sweep, measured beside the original.

    Attributes:
        candidates: that may replace an FF layer.
        ff_location: where that sits; None by default.
        tokens, max_length: of the text, and of each text that is read.
        steps, batch_tokens: training steps of each layer, and tokens of a step.
        seed: of everything drawn.
        ffn: what is in the layers.
        predicted_ms, summed_error: by the sums over layers that choices are planned with.
        fvu_states: fraction of variance unexplained of the last hidden states.
        scores: on tasks.
    """

    kind: ClassVar[str] = "convert_sweep"

    candidates: tuple[str, ...]
    ff_location: str | None = None
    tokens: int
    max_length: int
    steps: int
    batch_tokens: int
    seed: int
    ffn: LayerChoice
    predicted_ms: float
    summed_error: float
    fvu_states: float
    scores: tuple[Score, ...] = ()


@dataclass(frozen=True, kw_only=True)
class ConvertLatencyRow(EncoderTimes):
    """The times of a model of a sweep.

    Attributes:
        ffn: what is in the layers.
    """

    kind: ClassVar[str] = "convert_latency"

    ffn: LayerChoice


@dataclass(frozen=True, kw_only=True)
class ConvertCandidateRow(Row):
    """The time of the model with one candidate in every layer.

    Attributes:
        ffn: the candidate; None is the original's.
        latency_text_ms: of one text.
    """

    kind: ClassVar[str] = "convert_candidate"

    ffn: str | None
    latency_text_ms: float


@dataclass(frozen=True, kw_only=True)
class ConvertChoiceRow(Row):
    """The model of a sweep that was saved.

    Attributes:
        ffn: what is in the layers.
        target_speedup, target_explained: what was wanted: times the original's speed, or the share
            of the variance of the last hidden states.
        end_to_end_steps, end_to_end_tokens: of its training as a whole.
        fvu_states, scores: after that, as in `ConvertSweepRow`.
    """

    kind: ClassVar[str] = "convert_choice"

    ffn: LayerChoice
    target_speedup: float | None = None
    target_explained: float | None = None
    end_to_end_steps: int | None = None
    end_to_end_tokens: int | None = None
    fvu_states: float | None = None
    scores: tuple[Score, ...] = ()
