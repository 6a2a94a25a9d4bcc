"""Texts to convert with: a random sample of all text, in random order, in bounded memory."""

import random
import re
from collections.abc import Iterable, Iterator

from ultrafastbert.data.text import Source, read_documents, split_documents
from ultrafastbert.data.text_collections import checked_texts

# One section in this many is held out, to measure on: documents, of which long ones are several.
VALIDATION_EVERY = 20
SECTION_PARAGRAPHS = 100
# A single text, or a pair that is read as two segments.
Text = str | tuple[str, str]
# Texts in memory at most: a few hundred megabytes.
MAX_TEXTS = 1_000_000
# Paragraphs are cut into pieces of so many sentences, drawn at random.
SENTENCES = (1, 1, 1, 2, 4)
# Of the pieces of several sentences, the share that become pairs.
PAIR_SHARE = 0.5
END_OF_SENTENCE = re.compile(r"(?<=[.!?])\s+")


def texts_of(source: Source, validation: bool) -> list[Text]:
    """Return short texts and pairs of such, shuffled: held-out ones, or the others; see `pieces`.

    Of more than a million, every one is as likely to be among the result, which does not depend on
    anything but the text, so that all models read the same. Something is held out of every text
    that has two paragraphs, see `split_documents`.
    """
    parts = split_documents(sections(read_documents(source)), VALIDATION_EVERY, validation)
    return sample(pieces(line for part in parts for line in part.splitlines()))


def sections(documents: Iterable[str]) -> Iterator[str]:
    """Cut documents at ends of paragraphs, so that a single long one has parts to hold out."""
    for document in checked_texts(documents, "documents"):
        lines = document.splitlines()
        for start in range(0, len(lines), SECTION_PARAGRAPHS):
            yield "\n".join(lines[start : start + SECTION_PARAGRAPHS])


def pieces(paragraphs: Iterable[str]) -> Iterator[Text]:
    """Cut paragraphs at ends of sentences: encoders read short texts as often as long ones.

    About half of the pieces of several sentences are pairs, cut in the middle: a model that is to
    be fine-tuned on pairs needs to have seen second segments, with token types of their own, and
    attention between two texts. Paragraphs of one sentence stay single texts: those beside them
    need not have anything to do with them.
    """
    generator = random.Random(0)
    for paragraph in checked_texts(paragraphs, "paragraphs"):
        sentences = END_OF_SENTENCE.split(paragraph.strip())
        while sentences:
            size = generator.choice(SENTENCES)
            piece = sentences[:size]
            del sentences[:size]
            middle = len(piece) // 2
            if middle and generator.random() < PAIR_SHARE:
                yield " ".join(piece[:middle]), " ".join(piece[middle:])
            else:
                yield " ".join(piece)


def sample(items: Iterable[Text], size: int = MAX_TEXTS) -> list[Text]:
    """Return so many items at most, drawn uniformly and shuffled (reservoir sampling)."""
    generator, kept = random.Random(0), []
    for n_before, item in enumerate(items):
        if n_before < size:
            kept.append(item)
        elif (place := generator.randrange(n_before + 1)) < size:
            kept[place] = item
    generator.shuffle(kept)
    return kept
