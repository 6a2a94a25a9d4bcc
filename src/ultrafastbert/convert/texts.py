"""Paragraphs to convert with: a random sample of all text, in random order, in bounded memory."""

import random
from collections.abc import Iterable

from ultrafastbert.data.text import Source, read_documents, split_documents

# One document in this many is held out, to measure on.
VALIDATION_EVERY = 20
# Paragraphs in memory at most: a few hundred megabytes.
MAX_PARAGRAPHS = 1_000_000


def paragraphs(source: Source, validation: bool) -> list[str]:
    """Return paragraphs of the text, shuffled: those held out, or all the others.

    Of more than a million, every one is as likely to be among the result. The order does not depend
    on anything but the text, so that all models read the same.
    """
    documents = split_documents(read_documents(source), VALIDATION_EVERY, validation)
    return sample(line for document in documents for line in document.splitlines())


def sample(items: Iterable[str], size: int = MAX_PARAGRAPHS) -> list[str]:
    """Return so many items at most, drawn uniformly and shuffled (reservoir sampling)."""
    generator, kept = random.Random(0), []
    for n_before, item in enumerate(items):
        if n_before < size:
            kept.append(item)
        elif (place := generator.randrange(n_before + 1)) < size:
            kept[place] = item
    generator.shuffle(kept)
    return kept
