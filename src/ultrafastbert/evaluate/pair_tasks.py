"""How sentence vectors are scored: pairs of sentences whose similarity people rated, in one table.

A new task is one entry of `PAIR_TASKS`. Conversions, sweeps and quantized models are scored on all
tasks whose data is there, and reports have a column for each split.
"""

from dataclasses import dataclass, replace

from ultrafastbert.evaluate.tasks import TaskSpec, get_task


@dataclass(frozen=True)
class SentencePairTask:
    """Rated pairs of sentences; a model predicts the cosine of their vectors.

    Attributes:
        spec: a regression task of two text columns; its first metric is the score.
        splits: those that are scored, where they are there; the first one also chooses models.
    """

    spec: TaskSpec
    splits: tuple[str, ...] = ("validation", "test")

    @property
    def metric(self) -> str:
        """The name of the score."""
        return self.spec.metrics[0]


PAIR_TASKS = (
    # The test split is scored where a folder has its labels.
    SentencePairTask(
        replace(get_task("stsb"), n_rows={"train": 5749, "validation": 1500, "test": 1379})
    ),
)
