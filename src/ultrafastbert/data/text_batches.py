"""Batches of texts of similar length, so that little is padding."""

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
    """Yield tokenized batches of texts of similar length.

    A batch holds what the tokenizer returns, (B, S) int64 each. Pairs are encoded together, such as
    [CLS] A [SEP] B [SEP]; where one is too long, its longer text is cut first. 512 texts are read
    ahead and sorted, so the texts need not fit in memory.
    Raises ValueError for `texts` that are not a collection of texts and pairs.
    """
    texts = checked_texts_and_pairs(texts, "texts")
    generator = random.Random(0)
    for chunk in _grouped(texts, BATCH_TEXTS * SORTED_BATCHES):
        batches = list(_grouped(sorted(chunk, key=_n_characters), BATCH_TEXTS))
        generator.shuffle(batches)  # else a reader that stops early sees only the short texts
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
