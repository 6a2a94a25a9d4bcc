"""Rows of pretraining and of fine-tuning on tasks."""

from dataclasses import dataclass
from typing import Annotated, ClassVar

from ultrafastbert.rows.row import Column, Row


@dataclass(frozen=True, kw_only=True)
class PretrainRow(Row):
    """A model that was pretrained by masked language modelling.

    Attributes:
        name: of the run; runs of one name and budget differ in their seed only.
        ffn: its feedforward layer: KxD, KxDxL, ff:WIDTH or none.
        n_active, n_neurons: of each layer.
        hidden_size, num_hidden_layers, n_parameters: sizes of the model.
        tokens, steps: that it was trained for.
        seed: of weights, masks and the order of the text.
        paired: whether weights were drawn by their names, so that models of one seed start alike
            in all that they share.
        tokens_per_s, seconds: of the training.
        validation_loss: nats per masked token of texts that it has not read.
        validation_accuracy: share of those tokens that it names, 0 to 1.
    """

    kind: ClassVar[str] = "pretrain"

    name: str
    ffn: str
    n_active: int
    n_neurons: int
    hidden_size: int
    num_hidden_layers: int
    n_parameters: int
    tokens: int
    steps: int
    seed: int
    tokens_per_s: float
    seconds: float
    validation_loss: Annotated[float, Column("validation loss", decimals=3)]
    validation_accuracy: Annotated[float, Column("masked tokens right, %", 100.0)]
    paired: bool = False


@dataclass(frozen=True, kw_only=True)
class PretrainCurveRow(Row):
    """A point of a pretraining's loss curve.

    Attributes:
        name, seed: of the run, as in `PretrainRow`.
        step, tokens: up to that point.
        loss: nats per masked token, mean since the point before.
        learning_rate: at that point.
    """

    kind: ClassVar[str] = "pretrain_curve"

    name: str
    seed: int
    step: int
    tokens: int
    loss: float
    learning_rate: float


@dataclass(frozen=True, kw_only=True)
class TaskResult(Row):
    """A model that was fine-tuned on one task with one seed.

    Attributes:
        model: what it is called.
        model_dir: name of its folder.
        model_digest, data_digest: of its weights and of the task's data; some rows lack the second.
        task: as in `evaluate.tasks.TASKS`, or the name of one's own.
        seed: of the new head and the order of the data.
        n_train, n_validation: labelled examples.
        epochs, learning_rate, batch_size, warmup_ratio, weight_decay, max_grad_norm,
            max_seq_length, dropout, bf16, max_train_rows: of the fine-tuning, see `GlueConfig`.
        metric, value: the task's primary metric, per cent.
        metrics: all of them, per cent.
        subset: whether a part of the task's official data was used only.
        seconds, train_tokens: of the training.
        n_parameters: of the model with its head.
    """

    model: str
    model_dir: str
    model_digest: str
    data_digest: str | None = None
    task: str
    seed: int
    n_train: int
    n_validation: int
    epochs: int
    learning_rate: float
    batch_size: int
    warmup_ratio: float
    weight_decay: float
    max_grad_norm: float
    max_seq_length: int
    dropout: float
    bf16: bool
    max_train_rows: int | None = None
    metric: str
    value: float
    metrics: dict[str, float]
    subset: bool
    seconds: float
    train_tokens: int
    n_parameters: int


@dataclass(frozen=True, kw_only=True)
class GlueRow(TaskResult):
    """A model that was fine-tuned on one of GLUE's tasks, or on another one.

    Attributes:
        majority_accuracy: what always naming the most frequent class gives, 0 to 1.
    """

    kind: ClassVar[str] = "glue"

    majority_accuracy: float | None = None
