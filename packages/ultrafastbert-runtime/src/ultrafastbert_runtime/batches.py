"""Batches of texts of about the same length, so that next to no padding is computed."""

from collections.abc import Iterator, Sequence

import numpy as np

# One more forward pass takes as long as this many more tokens, on one thread, as it reads the
# weights once more: about 4 for MiniLM with trees, about 16 for the dense one.
PASS_TOKENS = 8


def batches(
    lengths: Sequence[int], token_budget: int, batch_size: int | None, threads: int
) -> Iterator[np.ndarray]:
    """Yield the places of texts that are computed together, the longest first.

    Args:
        lengths: tokens of each text.
        token_budget: the most tokens of a batch, padding included; a longer text goes alone.
        batch_size: the most texts of a batch, if any.
        threads: of a forward pass. A batch ends where padding would take longer than another pass.
    """
    order = np.argsort(-np.asarray(lengths, np.int64), kind="stable")
    most_padding = PASS_TOKENS * threads
    first, padding = 0, 0
    for place, text in enumerate(order):
        longest, n_texts = lengths[order[first]], place - first
        padding += longest - lengths[text]
        is_full = (n_texts + 1) * longest > token_budget or n_texts == batch_size
        if n_texts and (is_full or padding > most_padding):
            yield order[first:place]
            first, padding = place, 0
    if len(order):
        yield order[first:]
