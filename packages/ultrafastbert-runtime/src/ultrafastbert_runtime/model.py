"""A model of texts, open: what the encoder, the classifier and the one that fills masks share."""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple, Protocol

import numpy as np

from ultrafastbert_runtime.batches import batches
from ultrafastbert_runtime.folder import ModelFolder, count_of, find_model
from ultrafastbert_runtime.session import open_session
from ultrafastbert_runtime.texts import Text
from ultrafastbert_runtime.tokens import NO_LIMIT, TextTokenizer, Tokens

# Tokens of a forward pass: the processor gains nothing from more, and memory grows with them.
TOKEN_BUDGET = 2048


class Show(Protocol):
    """Is told what is being done, how much of it is done, and of how much if that is known."""

    def __call__(self, what: str, done: int = 0, total: int | None = None) -> None:
        """Show it."""


def show_nothing(what: str, done: int = 0, total: int | None = None) -> None:
    """For jobs that nobody watches."""


class Batch(NamedTuple):
    """What one forward pass gives.

    Attributes:
        places: (B) of its texts among those given.
        output: (B, ...) float32.
        mask: (B, S) int64: 1 for tokens, 0 for padding.
        n_truncated: how many of its texts were cut.
    """

    places: np.ndarray
    output: np.ndarray
    mask: np.ndarray
    n_truncated: int


class TextModel:
    """An exported model with its tokenizer. Threads may share it, and processes after a fork.

    Attributes:
        folder: its files.
        session: the model in ONNX Runtime.
        tokenizer: makes its inputs.
    """

    def __init__(
        self,
        path: str | Path | None,
        outputs: Sequence[str],
        threads: int | None = None,
        precision: str | None = None,
        max_length: int | None = None,
    ):
        """Open it.

        Args:
            path: its folder.
            outputs: names of what is wanted of it; the first that it has is `output`.
            threads: for one call; by default as many as the cores that this process may use.
            precision: `fp32` or `int8`, if only a model that was exported in it will do.
            max_length: the most tokens to read of a text; by default all that the model reads.

        Raises:
            OSError: for what is missing.
            ValueError: for arguments and files that are of no use.
            ImportError: without ONNX Runtime.
        """
        self.folder: ModelFolder = find_model(path)
        self.session = open_session(self.folder.model, threads, precision)
        properties = {n: _number(v) for n, v in self.session.metadata.items()}
        longest = count_of(properties, "max_position_embeddings", str(self.folder.model))
        self.tokenizer = TextTokenizer(self.folder, longest or NO_LIMIT, max_length)
        self.output = _first_of(outputs, self.session.outputs, self.folder.model)

    @property
    def max_seq_length(self) -> int:
        """The most tokens that are read of a text, special tokens included."""
        return self.tokenizer.max_length

    def run(self, texts: Sequence[Tokens]) -> tuple[np.ndarray, np.ndarray]:
        """Return the output of one forward pass, (B, ...), and the mask of its tokens, (B, S)."""
        inputs = self.tokenizer.batch(texts)
        return self.session.run(inputs, self.output), inputs["attention_mask"]

    def batched(
        self,
        token_budget: int,
        batch_size: int | None,
        what: str,
        n_texts: int | None,
        show: Show,
    ) -> Callable[[Sequence[Text]], Iterator[Batch]]:
        """Return the function that computes texts in batches, and shows how far it has come.

        Raises ValueError for sizes of batches that are of no use.
        """
        _check_sizes(token_budget, batch_size)
        show(what, 0, n_texts)
        done = 0

        def computed(texts: Sequence[Text]) -> Iterator[Batch]:
            nonlocal done
            tokens = list(self.tokenizer.tokens(texts))
            lengths = [len(text.ids) for text in tokens]
            for places in batches(lengths, token_budget, batch_size, self.session.threads):
                batch = [tokens[place] for place in places]
                n_truncated = sum(text.is_truncated for text in batch)
                yield Batch(places, *self.run(batch), n_truncated)
                done += len(batch)
                show(what, done, n_texts)

        return computed

    def check_finite(self, values: np.ndarray) -> None:
        """Raise ValueError for results that are not finite."""
        if not np.isfinite(values).all():
            raise ValueError(
                f"{self.session.path} computes something that is not a number; check its weights"
            )


def _check_sizes(token_budget: int, batch_size: int | None) -> None:
    if token_budget < 1:
        raise ValueError(f"token_budget={token_budget} must be at least 1")
    if batch_size is not None and batch_size < 1:
        raise ValueError(f"batch_size={batch_size} must be at least 1")


def _number(text: str) -> int | str:
    return int(text) if text.isascii() and text.isdigit() else text


def _first_of(wanted: Sequence[str], outputs: Sequence[str], path: Path) -> str:
    found = next((name for name in wanted if name in outputs), None)
    if found is None:
        raise ValueError(
            f"{path} gives {', '.join(outputs)}, and {' or '.join(wanted)} is needed: it is the "
            "model of another task"
        )
    return found
