"""How sentence vectors are scored: pairs of sentences whose similarity people rated, in one table.

A new task is one entry of `PAIR_TASKS`. Conversions, sweeps and quantized models are scored on all
tasks whose data is there, and reports have a column for each split.
"""

from dataclasses import dataclass, replace

from ultrafastbert.evaluate.metrics import METRICS
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

    def field(self, split: str, when: str = "") -> str:
        """Return the row field of a split's score, such as `stsb_validation_spearman`."""
        return "_".join(filter(None, (self.spec.name, split, when, self.metric)))

    def title(self, split: str) -> str:
        """Return how tables name a split's score."""
        metric = METRICS[self.metric]
        return f"{self.spec.title or self.spec.name} {split} ({metric.title}, {metric.unit})"


PAIR_TASKS = (
    # The test split is scored where a folder has its labels.
    SentencePairTask(
        replace(get_task("stsb"), n_rows={"train": 5749, "validation": 1500, "test": 1379})
    ),
)


def score_titles(*splits: str) -> dict[str, str]:
    """Return the titles of all scores, or of those of some splits, by row field."""
    return {
        task.field(split): task.title(split)
        for task in PAIR_TASKS
        for split in task.splits
        if split in (splits or task.splits)
    }
