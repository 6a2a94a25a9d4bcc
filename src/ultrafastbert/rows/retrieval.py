"""Rows of retrieval: how well the vectors of a model find what belongs together."""

from dataclasses import dataclass
from typing import ClassVar

from ultrafastbert.rows.row import Row


@dataclass(frozen=True, kw_only=True)
class RetrievalRow(Row):
    """A model on one retrieval task.

    Attributes:
        task: as `evaluate.retrieval.RETRIEVAL_TASKS` names it, or the name of a file of pairs.
        model: fff for the model in question, teacher for its original, the name of its folder for
            another one that stands beside them.
        ffn: its FF layers, by layer; None for the original's.
        weight_dtype: of fast feedforward layers, where they are quantized.
        n_queries, n_passages: distinct texts; each passage is a candidate for each query.
        metrics: by name: `recall_at_1` and `mrr`, in per cent, and beside an original
            `cosine_mean` and `cosine_min`, of the vectors of all texts to the original's.
    """

    kind: ClassVar[str] = "retrieval"

    task: str
    model: str
    ffn: tuple[str | None, ...] | None = None
    weight_dtype: str | None = None
    n_queries: int
    n_passages: int
    metrics: dict[str, float]
