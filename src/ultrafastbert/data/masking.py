"""Masked-language-modelling samples, each a function of (seed, position) alone."""

import numpy as np
import torch
from torch.utils.data import Dataset, default_collate
from transformers import PreTrainedTokenizerFast

from ultrafastbert.data.packing import PackedRows

IGNORED_LABEL = -100
# The second word of the Philox key: independent random numbers for each purpose.
_MASKS, _ORDER = 0, 1
_WORDS_PER_COUNT = 4  # a Philox counter value gives four 64-bit words

Sample = dict[str, torch.Tensor]


class MaskedStream(Dataset[Sample]):
    """Map-style data set of `n_positions` masked rows, reshuffled each epoch.

    Position p is row `permutation(seed, p // len(rows))[p % len(rows)]` with a mask drawn from a
    counter-based generator at p, so reading may start anywhere (exact resuming). In each row,
    `round(mlm_probability * seq_length)` tokens are to be predicted (fewer only if the row has
    fewer tokens that are not special): BERT's rule makes 80 % of them [MASK], 10 % a random token,
    and leaves 10 % (arXiv 1810.04805, section 3.1; the fixed number is that of arXiv 2212.14034).
    `DataCollatorForLanguageModeling` draws masks in sequence and their number at random.

    A sample is `input_ids` (S,) and `labels` (S,) int64, labels -100 where nothing is predicted.
    Raises ValueError for a probability outside (0, 1] or a tokenizer without [MASK].
    """

    def __init__(
        self,
        rows: PackedRows,
        seed: int,
        n_positions: int,
        tokenizer: PreTrainedTokenizerFast,
        mlm_probability: float = 0.25,
    ) -> None:
        if not 0 < mlm_probability <= 1:
            raise ValueError(f"mlm_probability={mlm_probability} must be in (0, 1]")
        if tokenizer.mask_token_id is None:
            raise ValueError(
                "the tokenizer has no mask token, which masked language modelling needs"
            )
        if seed < 0 or n_positions < 0:
            raise ValueError(f"seed={seed} and n_positions={n_positions} must not be negative")
        self.rows, self.seed, self.n_positions = rows, seed, n_positions
        self.n_predicted = max(1, round(mlm_probability * rows.seq_length))
        self.mask_token_id = tokenizer.mask_token_id
        self.is_special = np.zeros(len(tokenizer), dtype=bool)
        self.is_special[tokenizer.all_special_ids] = True
        self.ordinary_ids = np.flatnonzero(~self.is_special)
        self._epoch, self._order = -1, np.empty(0, np.int64)

    def __len__(self) -> int:
        return self.n_positions

    def __getitem__(self, position: int) -> Sample:
        if not 0 <= position < self.n_positions:
            raise IndexError(f"position {position} is outside 0..{self.n_positions - 1}")
        return self.__getitems__([position])[0]

    def __getitems__(self, positions: list[int]) -> list[Sample]:
        """Return the samples of several positions; torch's DataLoader calls this for a batch."""
        index = np.asarray(positions, dtype=np.int64)
        tokens = self.rows.array[self._row_numbers(index)].astype(np.int64)  # (B, S)
        input_ids, labels = self._mask(tokens, self._random_words(index))
        pairs = zip(torch.from_numpy(input_ids), torch.from_numpy(labels), strict=True)
        return [{"input_ids": ids, "labels": label} for ids, label in pairs]

    def _row_numbers(self, positions: np.ndarray) -> np.ndarray:
        epochs, offsets = np.divmod(positions, len(self.rows))
        numbers = np.empty_like(positions)
        for epoch in np.unique(epochs):
            inside = epochs == epoch
            numbers[inside] = self._permutation(int(epoch))[offsets[inside]]
        return numbers

    def _permutation(self, epoch: int) -> np.ndarray:
        # Sorting raw words, as numpy does not promise to keep the results of Generator.permutation.
        if epoch != self._epoch:
            bits = np.random.Philox(key=[self.seed, _ORDER], counter=[0, epoch, 0, 0])
            self._order = np.argsort(bits.random_raw(len(self.rows)), kind="stable")
            self._epoch = epoch
        return self._order

    def _random_words(self, positions: np.ndarray) -> np.ndarray:
        """Return two 64-bit words a token (B, 2, S), from counters p * n .. p * n + n - 1."""
        n_words = 2 * self.rows.seq_length
        n_counts = -(-n_words // _WORDS_PER_COUNT)
        # Neighbours have neighbouring counters: one call for each stretch of positions.
        starts = np.flatnonzero(np.diff(positions, prepend=-2) != 1)
        words = []
        for start, n in zip(starts, np.diff(starts, append=len(positions)), strict=True):
            counter = int(positions[start]) * n_counts
            bits = np.random.Philox(key=[self.seed, _MASKS], counter=[counter, 0, 0, 0])
            words.append(bits.random_raw(int(n) * n_counts * _WORDS_PER_COUNT))
        flat = np.concatenate(words).reshape(len(positions), -1)[:, :n_words]
        return flat.reshape(len(positions), 2, -1)

    def _mask(self, tokens: np.ndarray, words: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        special = self.is_special[tokens]
        rank = np.where(special, np.iinfo(np.uint64).max, words[:, 0])
        last = min(self.n_predicted, tokens.shape[1]) - 1
        chosen = np.argpartition(rank, last, axis=1)[:, : last + 1]  # (B, n_predicted)
        at = (np.arange(len(tokens))[:, None], chosen)
        wanted = ~special[at]
        labels = np.full_like(tokens, IGNORED_LABEL)
        labels[at] = np.where(wanted, tokens[at], IGNORED_LABEL)
        input_ids = tokens.copy()
        input_ids[at] = np.where(wanted, self._corrupt(tokens[at], words[:, 1][at]), tokens[at])
        return input_ids, labels

    def _corrupt(self, tokens: np.ndarray, words: np.ndarray) -> np.ndarray:
        """Apply the 80/10/10 rule: the low half of a word decides, the high half picks a token."""
        decision = (words & 0xFFFFFFFF) / 2.0**32
        picked = self.ordinary_ids[(words >> 32).astype(np.int64) % len(self.ordinary_ids)]
        replaced = np.where(decision < 0.9, picked, tokens)
        return np.where(decision < 0.8, self.mask_token_id, replaced)


def collate(samples: list[Sample]) -> Sample:
    """Stack samples to a batch: `input_ids` and `labels` (B, S)."""
    return default_collate(samples)
