"""Duplicates: questions of QQP's validation split, and those that ask the same."""

from collections.abc import Iterator

from ultrafastbert.evaluate.retrieval.task import Pair, RetrievalTask, Sources

DUPLICATE = 1  # the class


def _pairs(sources: Sources) -> Iterator[Pair] | None:
    rows = sources.glue("qqp", "validation")
    return (
        None
        if rows is None
        else ((row["question1"], row["question2"]) for row in rows if row["label"] == DUPLICATE)
    )


DUPLICATES = RetrievalTask("duplicates", "duplicate questions (QQP validation)", _pairs)
