"""Masked tokens of texts."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from ultrafastbert_runtime.classifier import softmax
from ultrafastbert_runtime.model import TextModel
from ultrafastbert_runtime.texts import Text, checked_text, checked_texts, is_one_text
from ultrafastbert_runtime.tokens import Tokens

Guess = dict[str, Any]


class FillMask:
    """A masked language model. Threads may share it.

    Attributes:
        model: the model with its tokenizer.
        mask_token: what stands in the place of a word, such as `[MASK]`.
    """

    def __init__(
        self,
        path: str | Path,
        *,
        threads: int | None = None,
        precision: str | None = None,
        max_length: int | None = None,
    ):
        """Open a masked language model. Arguments and errors are those of `Encoder`."""
        self.model = TextModel(path, ("logits",), threads, precision, max_length)
        self.mask_token, self._mask_id = self._mask()

    def __call__(self, texts: str | Iterable[str], top_k: int = 5) -> Any:
        """Return the likeliest tokens for the masks of texts, as transformers' pipeline does.

        Args:
            texts: a text with one or more masks, or a list or generator of them.
            top_k: how many tokens for each mask.

        Returns for a text with one mask a list of `{"score", "token", "token_str", "sequence"}`,
        the likeliest first; for one with more masks a list of such lists; for several texts a
        list of what each gets.

        Raises TypeError for what is not a text, ValueError for one without a mask and for results
        that are not finite.
        """
        if top_k < 1:
            raise ValueError(f"top_k={top_k} must be at least 1")
        if is_one_text(texts):
            return self._fill(checked_text(texts, "texts"), top_k)
        return [self._fill(text, top_k) for text in checked_texts(texts)]

    def _fill(self, text: Text, top_k: int) -> list[Guess] | list[list[Guess]]:
        """Fill the masks of a text. Texts go alone: logits of all tokens need much memory."""
        (tokens,) = self.model.tokenizer.tokens([text])
        places = np.flatnonzero(tokens.ids == self._mask_id)
        if not len(places):
            raise ValueError(
                f"text={text!r} has no {self.mask_token} to fill in the first "
                f"{self.model.max_seq_length} tokens; put it in the place of a word"
            )
        logits = self.model.run([tokens])[0][0, places]  # (masks, V)
        self.model.check_finite(logits)
        rows = [
            self._guesses(tokens, place, scores, top_k, len(places) == 1)
            for place, scores in zip(places.tolist(), softmax(logits), strict=True)
        ]
        return rows[0] if len(rows) == 1 else rows

    def _guesses(
        self, tokens: Tokens, place: int, scores: np.ndarray, top_k: int, is_only: bool
    ) -> list[Guess]:
        """Return the likeliest tokens for one mask; other masks stay in the sequence."""
        decode = self.model.tokenizer.tokenizer.decode
        guesses = []
        for token in np.argsort(-scores, kind="stable")[:top_k].tolist():
            filled = tokens.ids.copy()
            filled[place] = token
            guesses.append(
                {
                    "score": float(scores[token]),
                    "token": token,
                    "token_str": decode([token], skip_special_tokens=False),
                    "sequence": decode(filled.tolist(), skip_special_tokens=is_only),
                }
            )
        return guesses

    def _mask(self) -> tuple[str, int]:
        """Return the mask and its number, by the tokenizer's settings or as BERT has it."""
        folder = self.model.folder
        for name in ("tokenizer_config.json", "special_tokens_map.json"):
            token = folder.settings(name).get("mask_token")
            token = token.get("content") if isinstance(token, dict) else token
            if token is not None:
                break
        token = token or "[MASK]"
        number = self.model.tokenizer.tokenizer.token_to_id(token)
        if number is None:
            raise ValueError(f"the tokenizer of {folder.model.parent} has no token {token!r}")
        return token, number
