"""Labelled sentences as token rows, and batches of similar length."""

import numpy as np
import torch
from labelled_rows import dataset

from ultrafastbert.train.finetune import (
    TASKS,
)
from ultrafastbert.train.finetune.encoding import EncodedRows, LengthGroupedBatches


def test_batches_hold_each_row_once_with_little_padding(tokenizer):
    lengths = np.random.default_rng(0).integers(3, 60, size=501)
    batches = LengthGroupedBatches(lengths, 16, seed=0)
    first, second = list(batches), list(batches)
    assert len(first) == len(batches) == 32
    assert sorted(index for batch in first for index in batch) == list(range(501))
    assert first != second
    padded = sum(lengths[batch].max() * len(batch) for batch in first)
    assert padded < 1.1 * lengths.sum()


def test_encoded_rows_are_what_the_tokenizer_pads(tokenizer):
    spec = TASKS["mrpc"]
    data = dataset(spec)
    encoded = EncodedRows(data, spec, tokenizer, max_length=12)
    chosen = [3, 7, 0]
    texts = [[data[i][name] for i in chosen] for name in spec.text_columns]
    expected = tokenizer(*texts, truncation=True, max_length=12, padding=True, return_tensors="pt")
    batch = encoded.__getitems__(chosen)
    assert batch.keys() == {*expected, "labels"}
    for name, tensor in expected.items():
        assert torch.equal(batch[name], tensor), name
    assert batch["labels"].tolist() == [i % 2 for i in chosen]
    assert encoded.n_tokens == encoded.lengths.sum()
