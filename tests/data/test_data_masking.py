import os
import pickle
import subprocess
import sys

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader
from transformers import BertTokenizer

from ultrafastbert.data.masking import MaskedStream, collate
from ultrafastbert.data.packing import PackedRows

VOCAB = 1000
SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
MASK = 4
# Runs are resumed by later versions too, so these must never change.
GOLDEN_ROWS = [10, 7, 44, 33, 50, 30]
GOLDEN_PLACES = [1, 2, 13, 19, 21, 25, 27, 31]


@pytest.fixture(scope="module")
def tokenizer():
    words = [*SPECIAL, *(f"w{i}" for i in range(VOCAB - len(SPECIAL)))]
    return BertTokenizer(vocab={word: index for index, word in enumerate(words)})


def make_rows(folder, n_rows=53, seq_length=32) -> PackedRows:
    tokens = np.random.default_rng(0).integers(5, VOCAB, (n_rows, seq_length)).astype(np.uint16)
    tokens[:, 0] = np.arange(n_rows) + 5  # names the row
    tokens[::2, 7] = 3
    np.save(folder / f"rows-{n_rows}-{seq_length}.npy", tokens)
    return PackedRows(folder / f"rows-{n_rows}-{seq_length}.npy")


@pytest.fixture
def rows(tmp_path):
    return make_rows(tmp_path)


def original(sample) -> torch.Tensor:
    return torch.where(sample["labels"] == -100, sample["input_ids"], sample["labels"])


def everything(stream, positions) -> torch.Tensor:
    samples = stream.__getitems__(list(positions))
    return torch.stack([torch.stack([s["input_ids"], s["labels"]]) for s in samples])


def test_each_epoch_holds_every_row_once_in_a_new_order(rows, tokenizer):
    stream = MaskedStream(rows, 1, 3 * len(rows), tokenizer)
    assert len(stream) == 159
    restored = torch.stack([original(stream[p]) for p in range(len(stream))])
    expected = torch.from_numpy(rows.array.astype(np.int64))
    epochs = restored.view(3, len(rows), -1)
    for epoch in epochs:
        assert torch.equal(epoch[epoch[:, 0].argsort()], expected)
    assert not torch.equal(epochs[0], epochs[1])


def test_any_order_and_grouping_gives_the_same_samples(rows, tokenizer):
    stream = MaskedStream(rows, 7, 500, tokenizer)
    whole = everything(stream, range(500))
    order = np.random.default_rng(1).permutation(500).tolist()
    fresh = MaskedStream(rows, 7, 500, tokenizer)
    assert torch.equal(everything(fresh, order), whole[order])
    resumed = MaskedStream(rows, 7, 500, tokenizer)
    assert torch.equal(everything(resumed, range(310, 400)), whole[310:400])
    single = resumed[123]
    assert torch.equal(torch.stack([single["input_ids"], single["labels"]]), whole[123])
    assert torch.equal(everything(pickle.loads(pickle.dumps(stream)), [9, 9, 8]), whole[[9, 9, 8]])


def test_seed_changes_order_and_masks(rows, tokenizer):
    a, b = (everything(MaskedStream(rows, seed, 50, tokenizer), range(50)) for seed in (0, 1))
    assert not torch.equal(a[:, 1], b[:, 1])
    assert not torch.equal(a[:, 0, 0], b[:, 0, 0])


def test_fixed_number_of_predicted_tokens_and_no_special_ones(rows, tokenizer):
    for probability, n in ((0.25, 8), (0.15, 5), (0.001, 1)):
        stream = MaskedStream(rows, 0, 200, tokenizer, probability)
        batch = collate(stream.__getitems__(list(range(200))))
        assert batch["input_ids"].dtype == batch["labels"].dtype == torch.int64
        predicted = batch["labels"] != -100
        assert (predicted.sum(1) == n).all()
        assert (batch["labels"][predicted] >= 5).all()
        assert set(batch["input_ids"][batch["input_ids"] < 5].tolist()) <= {3, MASK}


def test_rows_with_few_ordinary_tokens(tmp_path, tokenizer):
    np.save(tmp_path / "rows.npy", np.array([[3, 3, 3, 9], [3, 3, 3, 3]], dtype=np.uint16))
    stream = MaskedStream(PackedRows(tmp_path / "rows.npy"), 0, 2, tokenizer, 1.0)
    batch = collate([stream[0], stream[1]])
    assert sorted((batch["labels"] != -100).sum(1).tolist()) == [0, 1]
    assert batch["labels"].max() == 9
    assert (batch["input_ids"][:, :3] == 3).all()


def test_shares_of_the_corruption_rule(tmp_path, tokenizer):
    stream = MaskedStream(make_rows(tmp_path, 400, 128), 3, 4000, tokenizer)
    batch = collate(stream.__getitems__(list(range(4000))))
    predicted = batch["labels"] != -100
    given, wanted = batch["input_ids"][predicted], batch["labels"][predicted]
    n = len(wanted)
    assert n == 4000 * 32
    masked, same = (given == MASK), (given == wanted)
    assert abs(masked.float().mean() - 0.8) < 0.005
    assert abs(same.float().mean() - 0.1) < 0.005
    random = given[~masked & ~same]
    assert random.min() == 5
    assert random.max() == VOCAB - 1
    assert abs(random.float().mean() - (VOCAB + 4) / 2) < 10
    # every place of a row is as likely as any other
    places = predicted[:, 1:7].float().mean(0)
    assert (abs(places - 0.25) < 0.03).all()


def test_unpredicted_tokens_stay(rows, tokenizer):
    stream = MaskedStream(rows, 0, len(rows), tokenizer)
    restored = {tuple(original(stream[p]).tolist()) for p in range(len(rows))}
    assert restored == {tuple(row) for row in rows.array.tolist()}


@pytest.mark.parametrize("seq_length", [1, 2, 3, 5, 33])
def test_odd_lengths(tmp_path, tokenizer, seq_length):
    stream = MaskedStream(make_rows(tmp_path, 9, seq_length + 8), 0, 40, tokenizer)
    assert torch.equal(everything(stream, [17])[0], everything(stream, range(40))[17])


@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
@pytest.mark.filterwarnings("ignore:This DataLoader will create")  # on a single core
def test_data_loader_with_workers(rows, tokenizer):
    stream = MaskedStream(rows, 0, 64, tokenizer)
    expected = everything(stream, range(64))
    for n_workers in (0, 2):
        loader = DataLoader(stream, batch_size=16, num_workers=n_workers, collate_fn=collate)
        batches = list(loader)
        assert torch.equal(torch.cat([b["input_ids"] for b in batches]), expected[:, 0])
        assert torch.equal(torch.cat([b["labels"] for b in batches]), expected[:, 1])


@pytest.mark.slow
def test_same_in_another_process(rows, tokenizer, tmp_path):
    stream = MaskedStream(rows, 11, 200, tokenizer)
    (tmp_path / "stream.pkl").write_bytes(pickle.dumps(stream))
    code = (
        "import pickle, sys, torch\n"
        "stream = pickle.load(open(sys.argv[1], 'rb'))\n"
        "print([s['input_ids'].tolist() for s in stream.__getitems__([150, 3, 199])])"
    )
    output = subprocess.check_output(
        [sys.executable, "-c", code, str(tmp_path / "stream.pkl")],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        text=True,
    )
    assert output.strip() == str(everything(stream, [150, 3, 199])[:, 0].tolist())


def test_numbers_are_those_of_earlier_versions(rows, tokenizer):
    stream = MaskedStream(rows, 5, 100, tokenizer)
    assert [int(original(stream[p])[0]) - 5 for p in range(6)] == GOLDEN_ROWS
    assert torch.nonzero(stream[60]["labels"] != -100).flatten().tolist() == GOLDEN_PLACES


def test_bad_arguments(rows, tokenizer):
    for probability in (0.0, -1.0, 1.5, float("nan")):
        with pytest.raises(ValueError, match="mlm_probability"):
            MaskedStream(rows, 0, 1, tokenizer, probability)
    with pytest.raises(ValueError, match="must not be negative"):
        MaskedStream(rows, -1, 1, tokenizer)
    stream = MaskedStream(rows, 0, 3, tokenizer)
    for position in (-1, 3):
        with pytest.raises(IndexError, match=r"outside 0\.\.2"):
            stream[position]
    assert len(MaskedStream(rows, 0, 0, tokenizer)) == 0


def test_tokenizer_without_mask(rows):
    tokenizer = BertTokenizer()
    tokenizer.mask_token = None
    with pytest.raises(ValueError, match="no mask token"):
        MaskedStream(rows, 0, 1, tokenizer)
