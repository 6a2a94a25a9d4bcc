"""All metrics in one table: what each computes, what it needs, and how it is shown.

A new metric is one entry of `METRICS`. What iterates over the table picks it up: task
specifications check that a metric fits, conversions write it into rows, reports take its title.
"""

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from typing import NamedTuple

import numpy as np
from torch import Tensor


class Needs(Enum):
    """What a metric is computed from, and with which arguments."""

    CLASSES = "class labels"  # (labels, predictions), class numbers (n) both
    TWO_CLASSES = "two classes"  # the same, 0 and 1
    NUMBERS = "real-valued labels"  # (labels, predictions), (n) both
    STATES = "the original's last hidden states"  # (comparison)
    LOGITS = "the original's logits"  # (comparison)
    CLASS_LOGITS = "the original's logits of several classes"  # (comparison)
    RANKS = "ranks of what was to be found"  # (ranks), from 1 (queries)
    COSINES = "cosines to the original's vectors"  # (cosines), (texts)


class Comparison(NamedTuple):
    """A model's outputs beside those of the original on the same held-out texts.

    Attributes:
        states_error: mean squared error of the last hidden states.
        states_variance: mean variance of the original's components.
        logits, original_logits: float32 (texts, C), where a head classifies or rates texts.
    """

    states_error: float
    states_variance: float
    logits: Tensor | None = None
    original_logits: Tensor | None = None

    @property
    def gives(self) -> set[Needs]:
        """What metrics may need of it."""
        found = {Needs.STATES}
        if self.original_logits is not None:
            found.add(Needs.LOGITS)
            if self.original_logits.shape[1] > 1:
                found.add(Needs.CLASS_LOGITS)
        return found


@dataclass(frozen=True)
class Metric:
    """One metric.

    Attributes:
        compute: returns the value that rows keep; `needs` says of which arguments.
        title: how it is shown.
        unit: of what is shown.
        factor: the value shown over the value in rows.
    """

    compute: Callable[..., float]
    needs: Needs
    title: str
    unit: str = "%"
    factor: float = 1.0

    @property
    def heading(self) -> str:
        """The title with the unit, as a column has it."""
        return f"{self.title}, {self.unit}" if self.unit else self.title


# scikit-learn and scipy are imported where they compute: reports read this table without them.


def _accuracy(labels: np.ndarray, predictions: np.ndarray) -> float:
    from sklearn.metrics import accuracy_score

    return 100 * float(accuracy_score(labels, predictions))


def _f1(labels: np.ndarray, predictions: np.ndarray) -> float:
    """Return F1 of class 1, 0 where there is none."""
    from sklearn.metrics import f1_score

    return 100 * float(f1_score(labels, predictions, zero_division=0.0))


def _matthews(labels: np.ndarray, predictions: np.ndarray) -> float:
    from sklearn.metrics import matthews_corrcoef

    return 100 * float(matthews_corrcoef(labels, predictions))


def _pearson(labels: np.ndarray, predictions: np.ndarray) -> float:
    from scipy.stats import pearsonr

    return _correlation(pearsonr, labels, predictions)


def _spearman(labels: np.ndarray, predictions: np.ndarray) -> float:
    from scipy.stats import spearmanr

    return _correlation(spearmanr, labels, predictions)


def _correlation(correlate: Callable, labels: np.ndarray, predictions: np.ndarray) -> float:
    # Undefined for constants; a model that gives the same value to all texts knows nothing.
    if np.ptp(labels) == 0 or np.ptp(predictions) == 0:
        return 0.0
    return 100 * float(correlate(labels, predictions).statistic)


def _fvu_of_states(comparison: Comparison) -> float:
    return comparison.states_error / comparison.states_variance


def _fvu_of_logits(comparison: Comparison) -> float:
    found, expected = _logits(comparison)
    return ((found - expected).square().mean() / logits_variance(expected)).item()


def _same_class(comparison: Comparison) -> float:
    found, expected = _logits(comparison)
    return (found.argmax(1) == expected.argmax(1)).float().mean().item()


def _logits(comparison: Comparison) -> tuple[Tensor, Tensor]:
    assert comparison.logits is not None
    assert comparison.original_logits is not None
    return comparison.logits, comparison.original_logits


def logits_variance(logits: Tensor) -> Tensor:
    """Return the mean variance of logits (texts, C) over the texts."""
    return logits.var(0, correction=0).mean()


def _recall_at_1(ranks: np.ndarray) -> float:
    return 100 * float((ranks == 1).mean())


def _mean_reciprocal_rank(ranks: np.ndarray) -> float:
    return 100 * float((1 / ranks).mean())


# FVU: fraction of variance unexplained, 0 for a model that computes what the original does.
METRICS: dict[str, Metric] = {
    "accuracy": Metric(_accuracy, Needs.CLASSES, "accuracy"),
    "f1": Metric(_f1, Needs.TWO_CLASSES, "F1"),
    "matthews": Metric(_matthews, Needs.CLASSES, "Matthews"),
    "pearson": Metric(_pearson, Needs.NUMBERS, "Pearson"),
    "spearman": Metric(_spearman, Needs.NUMBERS, "Spearman"),
    "fvu_states": Metric(
        _fvu_of_states, Needs.STATES, "FVU of the last hidden states", factor=100.0
    ),
    "fvu_logits": Metric(_fvu_of_logits, Needs.LOGITS, "FVU of the logits", factor=100.0),
    "same_class": Metric(
        _same_class, Needs.CLASS_LOGITS, "texts in the original's class", factor=100.0
    ),
    "recall_at_1": Metric(_recall_at_1, Needs.RANKS, "R@1"),
    "mrr": Metric(_mean_reciprocal_rank, Needs.RANKS, "MRR"),
    "cosine_mean": Metric(
        lambda cosines: float(cosines.mean()), Needs.COSINES, "mean cosine to the original's", ""
    ),
    "cosine_min": Metric(lambda cosines: float(cosines.min()), Needs.COSINES, "least cosine", ""),
}


def metrics_for(*needs: Needs) -> dict[str, Metric]:
    """Return the metrics that need one of some kinds of values, by name."""
    return {name: metric for name, metric in METRICS.items() if metric.needs in needs}


def compare(comparison: Comparison) -> dict[str, float]:
    """Return how near a model is to the original, by every metric that the outputs allow."""
    fitting = metrics_for(*comparison.gives)
    return {name: metric.compute(comparison) for name, metric in fitting.items()}
