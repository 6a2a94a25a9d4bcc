"""Rows of conversions: layers, whole models, their controls, tasks."""

from dataclasses import dataclass
from typing import Annotated, ClassVar, NamedTuple

from ultrafastbert.rows.row import Column, Row, Score
from ultrafastbert.rows.training import TaskResult


class Run(NamedTuple):
    """What tells conversions apart; rows have those that concern them."""

    original: str | None = None
    run_ffn: str | None = None
    tokens: int | None = None
    steps: int | None = None
    batch_tokens: int | None = None
    sequential_steps: int | None = None
    end_to_end_steps: int | None = None
    end_to_end_tokens: int | None = None


@dataclass(frozen=True, kw_only=True)
class OfConversion(Row):
    """A row of one conversion of several.

    Attributes:
        original: name of the dense model's folder.
        run_ffn: KxDxL that was wanted.
    """

    original: str | None = None
    run_ffn: str | None = None

    @property
    def run(self) -> Run:
        """The conversion that the row is of."""
        return Run(*(getattr(self, name, None) for name in Run._fields))


@dataclass(frozen=True, kw_only=True)
class Budget(OfConversion):
    """A row that tells how long its model was trained.

    Attributes:
        tokens: of the text that layers learned from.
        steps, batch_tokens: training steps of each layer, and tokens of a step.
        sequential_steps: further steps of each layer, on what those before it make of the text.
        end_to_end_steps, end_to_end_tokens: steps of the whole model, and tokens of its text.
    """

    tokens: int | None = None
    steps: int | None = None
    batch_tokens: int | None = None
    sequential_steps: int | None = None
    end_to_end_steps: int | None = None
    end_to_end_tokens: int | None = None


@dataclass(frozen=True, kw_only=True)
class LayerFit(OfConversion):
    """How near one layer is to the original's; FVU: fraction of variance unexplained.

    Attributes:
        model: the candidate or control: fff, random, ff_active, ff_equal_latency, none, ...
        layer: its number, from 0.
        ffn, n_active: what replaces the FF layer, and how many neurons a token visits.
        fvu_after_norm: of held-out outputs behind the layer's norm, where a norm reads them.
        fvu: of held-out outputs; 0 is perfect.
        fvu_states: of the model's last hidden states with this layer alone replaced, in sweeps.
        steps, batch_tokens: training steps, and tokens of a step.
        learning_rate, routing_learning_rate: of the training, the second of hyperplanes.
        split: what hyperplanes start as: principal or random.
        seed: of everything drawn.
    """

    model: str
    layer: int
    ffn: str
    n_active: int
    fvu_after_norm: Annotated[float | None, Column("FVU behind the layer's norm, %", 100.0)] = None
    fvu: Annotated[float, Column("FVU, %", 100.0)]
    fvu_states: float | None = None
    steps: int
    batch_tokens: int
    learning_rate: float
    split: str
    routing_learning_rate: float
    seed: int


@dataclass(frozen=True, kw_only=True)
class ConvertLayerRow(LayerFit):
    """A layer that was trained alone, on the original's inputs and outputs."""

    kind: ClassVar[str] = "convert_layer"


@dataclass(frozen=True, kw_only=True)
class ConvertSequentialRow(LayerFit):
    """A layer that was trained on what the new layers before it make of the text."""

    kind: ClassVar[str] = "convert_sequential"


@dataclass(frozen=True, kw_only=True)
class ModelFit(Budget):
    """How near a whole model is to the original.

    Attributes:
        model, ffn: the candidate or control and its layer; teacher, without any, is the original.
        seed: of everything drawn; None for the original.
        metrics: by name, of held-out texts: `fvu_states`, the FVU (fraction of variance
            unexplained) of the last hidden states, is always there; `fvu_logits` and `same_class`,
            a share from 0 to 1, where a head classifies whole texts.
        scores: on tasks.
    """

    model: str
    ffn: str | None = None
    seed: int | None = None
    metrics: dict[str, float]
    scores: tuple[Score, ...] = ()

    @property
    def fvu_states(self) -> float:
        """FVU of the last hidden states of held-out texts."""
        return self.metrics["fvu_states"]


@dataclass(frozen=True, kw_only=True)
class WholeModel(ModelFit):
    """A whole model that was measured.

    Attributes:
        n_active: neurons that a token visits in a layer; None for the original.
        layer_ids, ff_location: which layers were converted, and where their FF sits; None by
            default.
        max_length: tokens of a text that are read.
        controls, ablations, dense_widths, tasks: what else the conversion made.
        start: name of the folder of the converted model that training went on from, if any.
    """

    n_active: int | None = None
    layer_ids: tuple[int, ...] | None = None
    ff_location: str | None = None
    max_length: int
    controls: bool
    ablations: bool
    dense_widths: tuple[int, ...]
    tasks: tuple[str, ...]
    start: str | None = None


@dataclass(frozen=True, kw_only=True)
class ConvertRow(WholeModel):
    """A whole model as it is in the end."""

    kind: ClassVar[str] = "convert"


@dataclass(frozen=True, kw_only=True)
class ConvertLayerwiseRow(WholeModel):
    """A whole model before it is trained end to end."""

    kind: ClassVar[str] = "convert_layerwise"


@dataclass(frozen=True, kw_only=True)
class ConvertCurveRow(ModelFit):
    """A whole model during its training end to end.

    Attributes:
        step: training steps so far.
    """

    kind: ClassVar[str] = "convert_curve"

    step: int


@dataclass(frozen=True, kw_only=True)
class ConvertTaskRow(TaskResult, Budget):
    """A whole model that was fine-tuned on a task; `seed` is that of the fine-tuning.

    Attributes:
        ffn, n_active: as in `WholeModel`.
    """

    kind: ClassVar[str] = "convert_task"

    ffn: str | None = None
    n_active: int | None = None


@dataclass(frozen=True)
class TimedWidth:
    """A dense layer that was timed beside the layer wanted.

    Attributes:
        width: of the dense layer.
        us_per_token: of `ffn`, the layer wanted, and `dense`.
    """

    width: int
    us_per_token: dict[str, float]


@dataclass(frozen=True)
class WidthSearch:
    """The widest dense layer that keeps up, at one number of tokens a call.

    Attributes:
        n_tokens: of a call.
        width: that was found.
        timed: the widths that were tried.
    """

    n_tokens: int
    width: int
    timed: tuple[TimedWidth, ...]


@dataclass(frozen=True, kw_only=True)
class ConvertTimeRow(Row):
    """How wide a dense layer of equal latency is.

    Attributes:
        ffn, hidden_size, n_active: of the layer wanted.
        width: of the dense layer.
        measured: at several numbers of tokens a call.
        seed: of weights and inputs.
    """

    kind: ClassVar[str] = "convert_time"

    ffn: str
    hidden_size: int
    n_active: int
    width: int
    measured: tuple[WidthSearch, ...]
    seed: int
