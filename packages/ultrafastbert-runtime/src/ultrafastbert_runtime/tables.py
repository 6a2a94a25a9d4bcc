"""Tables that the command prints."""

from collections.abc import Sequence

import numpy as np

from ultrafastbert_runtime.pooling import unit

SHOWN_CHARACTERS = 40  # of a text in a table


def cosine_table(texts: Sequence[str], vectors: np.ndarray) -> str:
    """Return the cosine of each pair of texts, whose vectors are (n, H), as a Markdown table."""
    vectors = unit(vectors)
    numbers = [str(number) for number in range(1, len(texts) + 1)]
    rows = [
        [f"{number} {text[:SHOWN_CHARACTERS]}", *(f"{cosine:.3f}" for cosine in row)]
        for number, text, row in zip(numbers, texts, vectors @ vectors.T, strict=True)
    ]
    lines = [["cosine", *numbers], ["---", *["---:"] * len(texts)], *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)
