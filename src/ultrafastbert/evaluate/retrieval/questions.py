"""Question to passage: questions of QNLI's validation split, and the sentences that answer them.

Each question stands with a sentence of the paragraph that it was asked of (arXiv 1804.07461,
section 2.3; from SQuAD, arXiv 1606.05250). Only rows whose sentence answers the question count: of
the others, any neighbour is as right.
"""

from collections.abc import Iterator

from ultrafastbert.evaluate.retrieval.task import Pair, RetrievalTask, Sources

ANSWERS = 0  # the class


def _pairs(sources: Sources) -> Iterator[Pair] | None:
    rows = sources.glue("qnli", "validation")
    return (
        None
        if rows is None
        else ((row["question"], row["sentence"]) for row in rows if row["label"] == ANSWERS)
    )


QUESTIONS = RetrievalTask("questions", "question to passage (QNLI validation)", _pairs)
