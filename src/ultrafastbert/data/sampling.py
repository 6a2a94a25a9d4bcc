"""Texts for distillation: a uniform sample of all text, shuffled, in bounded memory."""

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
# Sentences of a piece, drawn at random.
SENTENCES = (1, 1, 1, 2, 4)
# Share of the pieces of several sentences that become pairs.
PAIR_SHARE = 0.5
END_OF_SENTENCE = re.compile(r"(?<=[.!?])\s+")


def texts_of(source: Source, validation: bool, whole_lines: bool = False) -> list[Text]:
    """Return short texts and pairs, shuffled: the held-out ones, or all others; see `pieces`.

    With `whole_lines`, each line is a text as it is.
    More than a million are sampled uniformly. The result depends on the text alone, so all models
    read the same. Any text of two paragraphs or more has a held-out part, see `split_documents`.
    """
    parts = split_documents(sections(read_documents(source)), VALIDATION_EVERY, validation)
    lines = (line for part in parts for line in part.splitlines())
    return sample((line for line in lines if line.strip()) if whole_lines else pieces(lines))


def sections(documents: Iterable[str]) -> Iterator[str]:
    """Cut documents between paragraphs, so that a long one has parts to hold out."""
    for document in checked_texts(documents, "documents"):
        lines = document.splitlines()
        for start in range(0, len(lines), SECTION_PARAGRAPHS):
            yield "\n".join(lines[start : start + SECTION_PARAGRAPHS])


def pieces(paragraphs: Iterable[str]) -> Iterator[Text]:
    """Cut paragraphs at ends of sentences: encoders read short texts as often as long ones.

    About half of the pieces of several sentences become pairs, cut in the middle. Models that are
    fine-tuned on pairs must have seen second segments, with their token types, and attention
    between two texts. A paragraph of one sentence stays one text: its neighbours may be unrelated.
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
    """Return at most `size` items, drawn uniformly (reservoir sampling) and shuffled."""
    generator, kept = random.Random(0), []
    for n_before, item in enumerate(items):
        if n_before < size:
            kept.append(item)
        elif (place := generator.randrange(n_before + 1)) < size:
            kept[place] = item
    generator.shuffle(kept)
    return kept
