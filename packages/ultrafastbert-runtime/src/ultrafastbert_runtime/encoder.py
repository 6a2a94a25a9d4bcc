"""Vectors of texts."""

from collections.abc import Iterable, Iterator, Sized
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from ultrafastbert_runtime.model import TOKEN_BUDGET, Show, TextModel, show_nothing
from ultrafastbert_runtime.pooling import read_pooling, unit
from ultrafastbert_runtime.texts import checked_text, checked_texts, is_one_text, windows
from ultrafastbert_runtime.vectors import (
    OF_ALL_VECTORS,
    PRECISIONS,
    Out,
    check_precision,
    collecting,
    quantize,
    width,
)

# What models call the vectors of tokens, and those of texts, which are pooled already.
OUTPUTS = ("last_hidden_state", "token_embeddings", "sentence_embedding", "pooler_output")


class Window(NamedTuple):
    """Vectors of some texts, (n, H) float32, and how many of these texts were cut."""

    vectors: np.ndarray
    n_truncated: int


class Encoder:
    """A sentence encoder, whose vectors are those of `SentenceTransformer(path)`, to rounding.

    Threads may share it.

    Attributes:
        model: the model with its tokenizer.
        dimension: numbers in a vector.
    """

    def __init__(
        self,
        path: str | Path | None = None,
        *,
        threads: int | None = None,
        precision: str | None = None,
        max_length: int | None = None,
    ):
        """Open an encoder.

        Args:
            path: folder of an exported model, by default that of the package
                `ultrafastbert-minilm`.
            threads: for one forward pass; by default one for each core that the process may use.
            precision: `fp32` or `int8`, if only a model that was exported in it will do.
            max_length: the most tokens to read of a text; by default all that the model reads.

        Raises:
            OSError: for what is missing.
            ValueError: for arguments and files that are of no use.
            ImportError: without ONNX Runtime.
        """
        self.model = TextModel(path, OUTPUTS, threads, precision, max_length)
        self._pooling = read_pooling(self.model.folder)
        self._settings = self.model.folder.settings("config_sentence_transformers.json")
        self.dimension = self._dimension()

    @property
    def max_seq_length(self) -> int:
        """The most tokens that are read of a text, special tokens included."""
        return self.model.max_seq_length

    def encode(
        self,
        texts: str | Iterable[str],
        *,
        batch_size: int | None = None,
        token_budget: int = TOKEN_BUDGET,
        normalize: bool = False,
        truncate_dim: int | None = None,
        precision: str = "float32",
        prompt: str | None = None,
        prompt_name: str | None = None,
        out: Out = None,
        show: Show = show_nothing,
    ) -> np.ndarray:
        """Return the vectors of texts: (n, H) float32, or (H) of a single text.

        Args:
            texts, batch_size, token_budget, normalize, truncate_dim, prompt, prompt_name, show: as
                in `windows`; `texts` may be a single one, too.
            precision: `float32`; `int8` or `uint8`, 256 steps between the least and the greatest
                number of these texts, for each dimension; `binary` or `ubinary`, a bit for each
                number, (n, H / 8).
            out: an array or memory map to write to, or the path of a new `.npy` file, which is
                returned as a memory map: for vectors that do not fit in memory.

        Raises as `windows`; ValueError for an `out` that does not fit, OSError where it cannot be
        written.
        """
        check_precision(precision, out)
        if is_one := is_one_text(texts):
            texts = [checked_text(texts, "texts")]
        n_texts = len(texts) if isinstance(texts, Sized) else None
        read = self.windows(
            texts,
            batch_size=batch_size,
            token_budget=token_budget,
            normalize=normalize,
            truncate_dim=truncate_dim,
            prompt=prompt,
            prompt_name=prompt_name,
            show=show,
        )
        # What is quantized by all vectors is collected first.
        at_once = "float32" if precision in OF_ALL_VECTORS else precision
        size = width(self._size(truncate_dim), at_once)
        with collecting(out, n_texts, size, PRECISIONS[at_once]) as rows:
            for vectors, _ in read:
                rows.add(quantize(vectors, at_once))
        found = rows.all()
        found = quantize(found, precision) if precision != at_once else found
        return found[0] if is_one else found

    def windows(
        self,
        texts: Iterable[str],
        *,
        batch_size: int | None = None,
        token_budget: int = TOKEN_BUDGET,
        normalize: bool = False,
        truncate_dim: int | None = None,
        prompt: str | None = None,
        prompt_name: str | None = None,
        show: Show = show_nothing,
    ) -> Iterator[Window]:
        """Return an iterator over the vectors of texts, some thousands at a time, in their order.

        Args:
            texts: a list, an array, or a generator, which is read as vectors are asked for. An
                empty text gets the vector of the special tokens.
            batch_size: the most texts of a forward pass, if any.
            token_budget: the most tokens of a forward pass, padding included.
            normalize: whether to scale vectors to length 1, after they are cut by `truncate_dim`;
                models may do it by themselves, before.
            truncate_dim: keep so many numbers of each vector.
            prompt: what to put before each text.
            prompt_name: which of the model's prompts to put there, by default the model's choice.
            show: called with what is being done, how much is done, and of how much if known.

        Raises:
            TypeError: for what is not a text; it names the position and the type.
            ValueError: for options of no use, and vectors that are not finite.
        """
        prompt = self._prompt(prompt, prompt_name)
        read = checked_texts(texts)
        read = (f"{prompt}{text}" for text in read) if prompt else read
        size, n_texts = self._size(truncate_dim), len(texts) if isinstance(texts, Sized) else None
        batched = self.model.batched(token_budget, batch_size, "encoding texts", n_texts, show)

        def computed() -> Iterator[Window]:
            for window in windows(read):
                vectors = np.empty((len(window), self.dimension), np.float32)
                n_truncated = 0
                for batch in batched(window):
                    vectors[batch.places] = self._pool(batch.output, batch.mask)
                    n_truncated += batch.n_truncated
                vectors = vectors[:, :size]
                yield Window(unit(vectors) if normalize else vectors, n_truncated)

        return computed()

    def _pool(self, states: np.ndarray, mask: np.ndarray) -> np.ndarray:
        """Return finite vectors of texts, (B, H), of those of tokens or of texts."""
        vectors = states if states.ndim == 2 else self._pooling(states, mask)
        self.model.check_finite(vectors)
        return vectors

    def _size(self, truncate_dim: int | None) -> int:
        if truncate_dim is None:
            return self.dimension
        if truncate_dim < 1:
            raise ValueError(f"truncate_dim={truncate_dim} must be at least 1")
        return min(truncate_dim, self.dimension)

    def _dimension(self) -> int:
        shape = self.model.session.output_shapes[self.model.output]
        if len(shape) not in (2, 3) or not isinstance(shape[-1], int):
            raise ValueError(
                f"{self.model.session.path}: output {self.model.output} of shape {shape} must be "
                "(batch, sequence, H) or (batch, H), with a number for H"
            )
        return shape[-1] * (len(self._pooling.modes) if len(shape) == 3 else 1)

    def _prompt(self, prompt: str | None, name: str | None) -> str:
        if prompt is not None:
            return checked_text(prompt, "prompt")
        prompts: dict[str, Any] = self._settings.get("prompts") or {}
        name = name or self._settings.get("default_prompt_name")
        if name is not None and name not in prompts:
            known = ", ".join(prompts) or "none"
            raise ValueError(f"prompt_name={name!r} is not one of the model's: {known}")
        return "" if name is None else prompts[name]
