"""Batches of texts for a model: similar lengths together, so that little is padding."""

import itertools
import random
from collections.abc import Iterable, Iterator

from torch import Tensor
from transformers import PreTrainedTokenizerBase

from ultrafastbert.data.sampling import Text
from ultrafastbert.data.text_collections import checked_texts_and_pairs

# Texts of a batch, and how many batches are sorted by length together.
BATCH_TEXTS = 32
SORTED_BATCHES = 16


def batches_of(
    tokenizer: PreTrainedTokenizerBase, texts: Iterable[Text], max_length: int
) -> Iterator[dict[str, Tensor]]:
    """Yield batches of texts of similar length: little padding, little waste.

    A batch holds what the tokenizer gives, (B, S) int64 each. A pair is encoded as the tokenizer
    does it, such as [CLS] A [SEP] B [SEP]; of one that is too long, the longer part is cut first.
    Raises ValueError for what is no collection of texts and pairs.
    """
    texts = checked_texts_and_pairs(texts, "texts")
    generator = random.Random(0)
    for chunk in _grouped(texts, BATCH_TEXTS * SORTED_BATCHES):
        batches = list(_grouped(sorted(chunk, key=_n_characters), BATCH_TEXTS))
        generator.shuffle(batches)  # or whoever stops in between would read the short texts only
        for batch in batches:
            yield tokenizer(
                batch,
                truncation="longest_first",
                max_length=max_length,
                padding=True,
                return_tensors="pt",
            )


def _n_characters(text: Text) -> int:
    return len(text) if isinstance(text, str) else sum(map(len, text))


def _grouped(items: Iterable[Text], size: int) -> Iterator[list[Text]]:
    iterator = iter(items)
    while group := list(itertools.islice(iterator, size)):
        yield group
