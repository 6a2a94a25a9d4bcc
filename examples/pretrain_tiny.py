"""Pretrain a tiny masked language model on the documentation of Python's standard library.

    python examples/pretrain_tiny.py

So short a run learns little more than which words are frequent.
"""

from itertools import islice
from pathlib import Path
from tempfile import TemporaryDirectory

from ultrafastbert.data import docstrings
from ultrafastbert.data.corpus import prepare_corpus
from ultrafastbert.inference.fill_mask import fill_mask
from ultrafastbert.train.pretrain import get_recipe, pretrain


def main() -> None:
    """Print the held-out loss, and guesses for a masked word."""
    with TemporaryDirectory() as name:
        folder = Path(name)
        harvest = docstrings.harvest((docstrings.STANDARD_LIBRARY,))
        documents = "\n\n".join(text.text for text in islice(harvest, 100))
        (folder / "text.txt").write_text(documents, encoding="utf-8")
        corpus = prepare_corpus(str(folder / "text.txt"), folder, vocab_size=500, seq_length=64)
        vocab_size = len(corpus.tokenizer)
        config = get_recipe("tiny")("1x4x8", vocab_size, budget_tokens=100_000, batch_size=16)
        row = pretrain(
            config, corpus.train, corpus.validation, corpus.tokenizer, folder / "model", "tiny"
        )
        print(f"{row.tokens:,} tokens, validation loss {row.validation_loss:.2f}")
        for word, share in fill_mask(folder / "model", "Return the [MASK] of the list.", 3)[0]:
            print(f"{share:6.1%}  {word}")


if __name__ == "__main__":
    main()
