"""Question to passage: the questions of QNLI's validation split, and the sentences they are about.

Each question stands with a sentence of the paragraph that it was asked of (arXiv 1804.07461,
section 2.3; from SQuAD, arXiv 1606.05250). All rows count, those that do not answer, too.
"""

from collections.abc import Iterator

from ultrafastbert.evaluate.retrieval.task import Pair, RetrievalTask, Sources


def _pairs(sources: Sources) -> Iterator[Pair] | None:
    rows = sources.glue("qnli", "validation")
    return None if rows is None else ((row["question"], row["sentence"]) for row in rows)


QUESTIONS = RetrievalTask("questions", "question to passage (QNLI validation)", _pairs)
