"""What a retrieval task is: pairs of a query and the passage that belongs to it."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ultrafastbert.data.text import Source
from ultrafastbert.evaluate.tasks import get_task

Pair = tuple[str, str]


@dataclass(frozen=True)
class Sources:
    """Where tasks find their texts.

    Attributes:
        glue_dir: folder of GLUE files, `<task>/<split>.jsonl[.gz]`.
        text: plain text that the model was not trained on, one paragraph a line.
    """

    glue_dir: Path | None = None
    text: Source | None = None

    def glue(self, task: str, split: str) -> Iterable[Mapping[str, Any]] | None:
        """Return the rows of a GLUE file; None where it is not there.

        Raises ValueError naming the file, line and value that is missing or wrong.
        """
        # Here, as reports read the table of tasks without the extra `train`.
        from ultrafastbert.evaluate.task_data import load_split

        return load_split(get_task(task), split, self.glue_dir)


@dataclass(frozen=True)
class RetrievalTask:
    """A retrieval task; every passage of its pairs is a candidate for every query.

    Attributes:
        name: in rows.
        title: in tables.
        pairs: yields queries with their passages, or returns None where the sources lack them.
    """

    name: str
    title: str
    pairs: Callable[[Sources], Iterator[Pair] | None]


@dataclass(frozen=True)
class RetrievalSet:
    """The texts of a task, each once.

    Attributes:
        task: the name of the task, or of a file of pairs.
        queries, passages: distinct texts.
        wanted: for each query the places, among the passages, of those that belong to it.
        excluded: for each query its own place among the passages, or None: it would find itself.
    """

    task: str
    queries: Sequence[str]
    passages: Sequence[str]
    wanted: Sequence[Sequence[int]]
    excluded: Sequence[int | None]

    @property
    def texts(self) -> list[str]:
        """All texts, queries first, each once."""
        return list(dict.fromkeys([*self.queries, *self.passages]))


def retrieval_set(task: str, pairs: Iterable[Pair]) -> RetrievalSet:
    """Return the distinct texts of pairs; a query may have several passages.

    Raises ValueError for fewer than two passages, among which there is nothing to find.
    """
    wanted: dict[str, dict[int, None]] = {}
    places: dict[str, int] = {}
    for query, passage in pairs:
        if query != passage:
            place = places.setdefault(passage, len(places))
            wanted.setdefault(query, {})[place] = None
    if len(places) < 2:
        raise ValueError(
            f"{task} has {len(places)} passages; give pairs of at least two distinct ones"
        )
    right = [list(each) for each in wanted.values()]
    return RetrievalSet(
        task, list(wanted), list(places), right, [places.get(query) for query in wanted]
    )
