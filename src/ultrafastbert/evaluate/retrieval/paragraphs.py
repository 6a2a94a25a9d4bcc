"""First sentence to the rest of its paragraph, in a text that is given."""

from collections.abc import Iterator

from ultrafastbert.data.sampling import END_OF_SENTENCE
from ultrafastbert.data.text import read_documents
from ultrafastbert.evaluate.retrieval.task import Pair, RetrievalTask, Sources

# Shorter ones, such as "He did." or an abbreviation, say nothing of what follows.
LEAST_CHARACTERS = 30
LEAST_SENTENCES = 3


def _pairs(sources: Sources) -> Iterator[Pair] | None:
    if sources.text is None:
        return None
    documents = read_documents(sources.text)
    return (pair for document in documents for pair in _pairs_of(document))


def _pairs_of(document: str) -> Iterator[Pair]:
    for paragraph in document.splitlines():
        first, *rest = END_OF_SENTENCE.split(paragraph.strip())
        if len(first) > LEAST_CHARACTERS and len(rest) >= LEAST_SENTENCES - 1:
            yield first, " ".join(rest)


PARAGRAPHS = RetrievalTask("paragraphs", "first sentence to the rest of a paragraph", _pairs)
