"""The nine GLUE tasks as one table (arXiv 1804.07461); a new task is one entry of it."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from ultrafastbert.evaluate.metrics import METRICS, Needs, metrics_for


@dataclass(frozen=True)
class TaskSpec:
    """A task of classifying sentences or pairs of sentences, or of giving them a number.

    Attributes:
        name: as in the Hugging Face data set `glue`.
        text_columns: the columns of the one or two sentences.
        label_names: names of classes 0, 1, ...; empty for regression.
        metrics: what is reported, the primary one first.
        epochs: passes over the training rows, unless the configuration says otherwise.
        n_rows: official number of rows of each split: `train`, the split that gives the result,
            further splits that are evaluated where they exist.
        title: how tables name it; by default as in the data set.

    Raises:
        ValueError: for less than one or more than two text columns, for a single class and for
            metrics that do not fit.
    """

    name: str
    text_columns: tuple[str, ...] = ("sentence",)
    label_names: tuple[str, ...] = ()
    metrics: tuple[str, ...] = ("accuracy",)
    epochs: int = 5
    n_rows: Mapping[str, int] = field(default_factory=dict)
    title: str = ""

    def __post_init__(self) -> None:
        if not 1 <= len(self.text_columns) <= 2:
            raise ValueError(f"text_columns={self.text_columns} must be one or two columns")
        if len(self.label_names) == 1:
            raise ValueError(f"label_names={self.label_names} must be two or more, or none")
        for metric in self.metrics:
            self._check_metric(metric)
        if not self.metrics:
            raise ValueError("metrics must name at least one metric")

    def _check_metric(self, name: str) -> None:
        needs = (Needs.CLASSES, Needs.TWO_CLASSES) if self.label_names else (Needs.NUMBERS,)
        if name not in (fitting := metrics_for(*needs)):
            raise ValueError(f"metric {name!r} must be one of {', '.join(fitting)} here")
        if fitting[name].needs is Needs.TWO_CLASSES and len(self.label_names) != 2:
            raise ValueError(f"metric {name!r} needs two classes, not {len(self.label_names)}")

    @property
    def is_regression(self) -> bool:
        """Whether labels are real numbers rather than classes."""
        return not self.label_names


_PAIR = ("sentence1", "sentence2")
_ENTAILMENT = ("entailment", "not_entailment")

# Primary metrics are those of BERT's table, from which the paper's row of BERT-base is taken:
# F1 for MRPC and QQP, Spearman's correlation for STS-B (arXiv 1810.04805, table 1).
_TASKS = (
    TaskSpec(
        "cola",
        label_names=("unacceptable", "acceptable"),
        metrics=("matthews", "accuracy"),
        epochs=15,
        n_rows={"train": 8551, "validation": 1043},
        title="CoLA",
    ),
    TaskSpec(
        "sst2",
        label_names=("negative", "positive"),
        n_rows={"train": 67349, "validation": 872},
        title="SST-2",
    ),
    TaskSpec(
        "mrpc",
        _PAIR,
        ("not_equivalent", "equivalent"),
        ("f1", "accuracy"),
        n_rows={"train": 3668, "validation": 408},
        title="MRPC",
    ),
    TaskSpec(
        "stsb",
        _PAIR,
        metrics=("spearman", "pearson"),
        n_rows={"train": 5749, "validation": 1500},
        title="STS-B",
    ),
    TaskSpec(
        "qqp",
        ("question1", "question2"),
        ("not_duplicate", "duplicate"),
        ("f1", "accuracy"),
        n_rows={"train": 363846, "validation": 40430},
        title="QQP",
    ),
    TaskSpec(
        "mnli",
        ("premise", "hypothesis"),
        ("entailment", "neutral", "contradiction"),
        n_rows={
            "train": 392702,
            "validation_matched": 9815,
            "validation_mismatched": 9832,
        },
        title="MNLI",
    ),
    TaskSpec(
        "qnli",
        ("question", "sentence"),
        _ENTAILMENT,
        n_rows={"train": 104743, "validation": 5463},
        title="QNLI",
    ),
    TaskSpec("rte", _PAIR, _ENTAILMENT, n_rows={"train": 2490, "validation": 277}, title="RTE"),
    TaskSpec(
        "wnli", _PAIR, _ENTAILMENT[::-1], n_rows={"train": 635, "validation": 71}, title="WNLI"
    ),
)
TASKS = {task.name: task for task in _TASKS}


def get_task(name: str) -> TaskSpec:
    """Return the GLUE task called `name`; ValueError with the names there are for any other."""
    if name not in TASKS:
        raise ValueError(f"task {name!r} is unknown; choose from {', '.join(TASKS)}")
    return TASKS[name]


def score(spec: TaskSpec, logits: np.ndarray, labels: np.ndarray) -> dict[str, float]:
    """Return the task's metrics in percent, the primary one first.

    `logits` (n, classes), or (n, 1) for regression, `labels` (n,). Correlations with constant
    predictions count as 0.
    """
    predictions = logits.reshape(-1) if spec.is_regression else logits.argmax(-1)
    return {name: METRICS[name].compute(labels, predictions) for name in spec.metrics}
