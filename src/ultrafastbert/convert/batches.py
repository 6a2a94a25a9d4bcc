"""Batches of texts for a model: similar lengths together, so that little is padding."""

import itertools
import random
from collections.abc import Iterable, Iterator

from torch import Tensor
from transformers import PreTrainedTokenizerBase

# Texts of a batch, and how many batches are sorted by length together.
BATCH_TEXTS = 32
SORTED_BATCHES = 16


def batches_of(
    tokenizer: PreTrainedTokenizerBase, texts: Iterable[str], max_length: int
) -> Iterator[dict[str, Tensor]]:
    """Yield batches of texts of similar length: little padding, little waste."""
    generator = random.Random(0)
    for chunk in _grouped(texts, BATCH_TEXTS * SORTED_BATCHES):
        batches = list(_grouped(sorted(chunk, key=len), BATCH_TEXTS))
        generator.shuffle(batches)  # or whoever stops in between would read the short texts only
        for batch in batches:
            yield tokenizer(
                batch,
                truncation=True,
                max_length=max_length,
                padding=True,
                return_tensors="pt",
            )


def _grouped(items: Iterable[str], size: int) -> Iterator[list[str]]:
    iterator = iter(items)
    while group := list(itertools.islice(iterator, size)):
        yield group
