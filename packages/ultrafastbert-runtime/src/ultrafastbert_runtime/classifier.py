"""Labels of texts."""

from collections.abc import Sized
from pathlib import Path
from typing import Any

import numpy as np

from ultrafastbert_runtime.model import TOKEN_BUDGET, Show, TextModel, show_nothing
from ultrafastbert_runtime.texts import checked_texts, is_one_text, windows

REGRESSION, MULTI_LABEL = "regression", "multi_label_classification"
Label = dict[str, Any]


class Classifier:
    """A sequence classifier or regression model. Threads may share it.

    Attributes:
        model: the model with its tokenizer.
        labels: their names, in the order of probabilities.
        problem_type: as in its config.json.
    """

    def __init__(
        self,
        path: str | Path,
        *,
        threads: int | None = None,
        precision: str | None = None,
        max_length: int | None = None,
    ):
        """Open a classifier. Arguments and errors are those of `Encoder`."""
        self.model = TextModel(path, ("logits",), threads, precision, max_length)
        config = self.model.folder.settings("config.json")
        self.problem_type: str | None = config.get("problem_type")
        self.labels = _labels(config)

    def __call__(self, texts: Any, top_k: int | None = 1, **options: Any) -> Any:
        """Return labels with their scores, the likeliest first.

        Args:
            texts: as for `probabilities`.
            top_k: how many labels of each text; None for all.
            **options: of `probabilities`.

        Returns a list of `{"label": ..., "score": ...}` for one text, a list of them for several;
        a score is a probability, or the number that a regression gives.
        """
        if top_k is not None and top_k < 1:
            raise ValueError(f"top_k={top_k} must be at least 1")
        scores = self.probabilities(texts, **options)
        if scores.ndim == 1:
            return self._best(scores, top_k)
        return [self._best(row, top_k) for row in scores]

    def probabilities(
        self,
        texts: Any,
        *,
        batch_size: int | None = None,
        token_budget: int = TOKEN_BUDGET,
        show: Show = show_nothing,
    ) -> np.ndarray:
        """Return the probability of each label: (n, labels) float32, or (labels) of one text.

        Args:
            texts: one text, or a tuple of two as a pair; or a list or generator of them.
            batch_size: the most texts of a forward pass, if any.
            token_budget: the most tokens of a forward pass, padding included.
            show: called with what is being done, how much is done, and of how much if known.

        Probabilities of a text add up to 1, unless several labels may hold at once; of a
        regression, the numbers as they are.

        Raises TypeError for what is not a text, ValueError for options of no use and results that
        are not finite.
        """
        is_one = is_one_text(texts) or _is_pair(texts)
        if is_one:
            texts = [texts]
        n_texts = len(texts) if isinstance(texts, Sized) else None
        read = checked_texts(texts, pairs=True)
        batched = self.model.batched(token_budget, batch_size, "classifying texts", n_texts, show)
        found = [np.empty((0, len(self.labels)), np.float32)]
        for window in windows(read):
            rows = np.empty((len(window), len(self.labels)), np.float32)
            for batch in batched(window):
                rows[batch.places] = self._scores(batch.output)
            found.append(rows)
        scores = np.concatenate(found)
        return scores[0] if is_one else scores

    def _scores(self, logits: np.ndarray) -> np.ndarray:
        """Return probabilities of logits, (B, labels)."""
        if logits.ndim != 2 or logits.shape[1] != len(self.labels):
            raise ValueError(
                f"logits of shape {logits.shape} do not fit the {len(self.labels)} labels of "
                "config.json (id2label): it is the model of another task"
            )
        self.model.check_finite(logits)
        if self.problem_type == REGRESSION:
            return logits
        if self.problem_type == MULTI_LABEL or len(self.labels) == 1:
            return 0.5 + 0.5 * np.tanh(0.5 * logits)  # the sigmoid, without overflow
        return softmax(logits)

    def _best(self, scores: np.ndarray, top_k: int | None) -> list[Label]:
        order = np.argsort(-scores, kind="stable")[:top_k]
        return [{"label": self.labels[i], "score": float(scores[i])} for i in order]


def softmax(logits: np.ndarray) -> np.ndarray:
    """Return probabilities over the last dimension."""
    powers = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return powers / powers.sum(axis=-1, keepdims=True)


def _is_pair(texts: Any) -> bool:
    return isinstance(texts, tuple) and len(texts) == 2 and all(map(is_one_text, texts))


def _labels(config: dict[str, Any]) -> list[str]:
    """Return the names of labels by their number: transformers has two if config.json has none."""
    names = config.get("id2label") or {0: "LABEL_0", 1: "LABEL_1"}
    try:
        by_number = {int(number): str(name) for number, name in names.items()}
        return [by_number[number] for number in range(len(by_number))]
    except (AttributeError, KeyError, ValueError):
        raise ValueError(f"config.json: id2label={names!r} must number labels from 0") from None
