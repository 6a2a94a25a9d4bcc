"""Labelled sentences as token rows, and batches of rows of similar length."""

from collections.abc import Iterator
from typing import Any

import datasets
import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset, Sampler
from transformers import PreTrainedTokenizerBase

from ultrafastbert.evaluate.tasks import TaskSpec

Batch = dict[str, Tensor]
# Rows tokenised at once: enough work for all cores, little memory.
_CHUNK_ROWS = 10_000
# Rows are sorted by length among this many batches: little padding, and batches still random.
_BATCHES_SORTED = 50


class EncodedRows(Dataset[Batch]):
    """Token rows of different lengths in flat arrays; read by the batch, padded to its longest.

    Padding a batch of 16 takes a tenth of the time of `DataCollatorWithPadding`. Inputs longer
    than `max_length` tokens are cut.
    """

    def __init__(
        self,
        dataset: datasets.Dataset,
        spec: TaskSpec,
        tokenizer: PreTrainedTokenizerBase,
        max_length: int,
    ):
        chunks = [
            _tokenize(dataset[start : start + _CHUNK_ROWS], spec, tokenizer, max_length)
            for start in range(0, len(dataset), _CHUNK_ROWS)
        ]
        self.lengths = np.concatenate([chunk.pop("length") for chunk in chunks])
        self.columns = {name: np.concatenate([c[name] for c in chunks]) for name in chunks[0]}
        self.padding = {
            "input_ids": tokenizer.pad_token_id or 0,
            "token_type_ids": tokenizer.pad_token_type_id,
        }
        self.ends = self.lengths.cumsum()
        dtype = torch.float32 if spec.is_regression else torch.int64
        self.labels = torch.tensor(dataset["label"][:], dtype=dtype)

    def __len__(self) -> int:
        return len(self.lengths)

    @property
    def n_tokens(self) -> int:
        """Tokens of all rows, without padding."""
        return int(self.lengths.sum())

    def __getitem__(self, index: int) -> Batch:
        return self.__getitems__([index])

    def __getitems__(self, indices: list[int]) -> Batch:
        """Return the batch of some rows: `labels` (B,), all others (B, S) int64."""
        lengths, ends = self.lengths[indices], self.ends[indices]
        is_token = np.arange(lengths.max()) < lengths[:, None]  # (B, S)
        places = np.concatenate([np.arange(e - n, e) for e, n in zip(ends, lengths, strict=True)])
        mask = torch.from_numpy(is_token.astype(np.int64))
        batch = {"labels": self.labels[indices], "attention_mask": mask}
        for name, flat in self.columns.items():
            padded = np.full(is_token.shape, self.padding.get(name, 0), dtype=np.int64)
            padded[is_token] = flat[places]
            batch[name] = torch.from_numpy(padded)
        return batch


def _tokenize(
    columns: dict[str, list[str]],
    spec: TaskSpec,
    tokenizer: PreTrainedTokenizerBase,
    max_length: int,
) -> dict[str, np.ndarray]:
    """Return the tokens of some rows one after another, and `length`, the tokens of each row."""
    texts = [columns[name] for name in spec.text_columns]
    encoded = tokenizer(*texts, truncation=True, max_length=max_length)
    names = [name for name in encoded if name != "attention_mask"]  # nothing is padded yet
    flat = {name: np.concatenate(encoded[name]).astype(np.int32) for name in names}
    return {**flat, "length": np.array([len(ids) for ids in encoded["input_ids"]])}


def as_it_is(batch: Any) -> Any:
    """Collate nothing: `EncodedRows` gives whole batches."""
    return batch


class BatchesInOrder(Sampler[list[int]]):
    """Batches from the shortest row to the longest, for evaluation."""

    # Read by accelerate.
    drop_last = False

    def __init__(self, lengths: np.ndarray, batch_size: int):
        self.order = lengths.argsort(kind="stable")
        self.batch_size = batch_size

    def __len__(self) -> int:
        return -(-len(self.order) // self.batch_size)

    def __iter__(self) -> Iterator[list[int]]:
        for start in range(0, len(self.order), self.batch_size):
            yield self.order[start : start + self.batch_size].tolist()


class LengthGroupedBatches(Sampler[list[int]]):
    """Batches of rows of similar length in random order; others at each iteration.

    Hugging Face's `LengthGroupedSampler` pads as little, but its batches run from long to short.
    """

    # Read by accelerate.
    drop_last = False

    def __init__(self, lengths: np.ndarray, batch_size: int, seed: int):
        self.lengths = torch.as_tensor(lengths)
        self.batch_size = batch_size
        self.generator = torch.Generator().manual_seed(seed)

    def __len__(self) -> int:
        return -(-len(self.lengths) // self.batch_size)

    def __iter__(self) -> Iterator[list[int]]:
        order = torch.randperm(len(self.lengths), generator=self.generator)
        chunks = order.split(_BATCHES_SORTED * self.batch_size)
        ordered = torch.cat([chunk[self.lengths[chunk].argsort(stable=True)] for chunk in chunks])
        batches = ordered.split(self.batch_size)
        for index in torch.randperm(len(batches), generator=self.generator).tolist():
            yield batches[index].tolist()
