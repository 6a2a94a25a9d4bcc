import errno
import os
import pickle
import resource
import signal
import subprocess
import sys
import textwrap
import time

import numpy as np
import pytest
from transformers import BertTokenizer

from ultrafastbert.data import packing
from ultrafastbert.data.packing import PackedRows, pack

WORDS = [f"w{i}" for i in range(50)]
SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]


def make_tokenizer(extra: int = 0) -> BertTokenizer:
    words = [*SPECIAL, *WORDS, *(f"x{i}" for i in range(extra))]
    return BertTokenizer(vocab={word: index for index, word in enumerate(words)})


@pytest.fixture
def tokenizer():
    return make_tokenizer()


def forbidden():
    raise AssertionError("documents were read although the rows are cached")
    yield


def test_rows_are_the_concatenated_documents(tokenizer, tmp_path):
    rows = pack(["w0 w1 w2\nw3", "w4", "w5 W6 w7"], tokenizer, 3, tmp_path, "key")
    assert rows.array.tolist() == [[5, 6, 7], [8, 3, 9], [3, 10, 11]]  # 12, 3 are the rest
    assert (len(rows), rows.seq_length, rows.n_tokens) == (3, 3, 9)
    assert rows.array.dtype == np.uint16
    assert rows[1].tolist() == [8, 3, 9]


def test_batches_do_not_change_rows(tokenizer, tmp_path, monkeypatch):
    documents = [" ".join(WORDS[: i % 50]) for i in range(300)]
    expected = pack(documents, tokenizer, 7, tmp_path / "a", "key").array
    monkeypatch.setattr(packing, "_BATCH_CHARS", 50)
    calls = []
    rows = pack(documents, tokenizer, 7, tmp_path / "b", "key", lambda *n: calls.append(n))
    assert np.array_equal(rows.array, expected)
    assert calls[-1][0] == 300
    assert calls[-1][1] >= rows.n_tokens
    assert len(calls) > 20


def test_special_tokens_in_text_are_plain_text(tokenizer, tmp_path):
    rows = pack(["w0 [MASK] [SEP] w1 " * 9], tokenizer, 5, tmp_path, "key")
    assert 4 not in rows.array
    assert 3 not in rows.array


def test_truncation_of_the_tokenizer_is_not_used_and_not_changed(tokenizer, tmp_path):
    tokenizer("w0", truncation=True, max_length=8, padding="max_length")
    before = tokenizer.backend_tokenizer.to_str()
    assert pack([" ".join(["w0"] * 99)], tokenizer, 50, tmp_path, "key").n_tokens == 100
    assert tokenizer.backend_tokenizer.to_str() == before


def test_cache_is_used_and_keyed(tokenizer, tmp_path):
    first = pack(["w0 w1 w2"], tokenizer, 2, tmp_path, "key")
    assert pack(forbidden(), tokenizer, 2, tmp_path, "key").path == first.path
    others = [
        pack(["w0 w1 w2"], tokenizer, 3, tmp_path, "key"),
        pack(["w0 w1 w2"], tokenizer, 2, tmp_path, "other"),
        pack(["w0 w1 w2"], make_tokenizer(1), 2, tmp_path, "key"),
    ]
    assert len({first.path, *(rows.path for rows in others)}) == 4


def test_large_vocabulary_takes_four_bytes(tmp_path):
    tokenizer = make_tokenizer(extra=70_000)
    rows = pack(["x69999 w0"], tokenizer, 3, tmp_path, "key")
    assert rows.array.dtype == np.uint32
    assert rows[0].tolist() == [70_054, 5, 3]


def test_damaged_cache_is_built_again(tokenizer, tmp_path):
    path = pack(["w0 w1 w2"], tokenizer, 2, tmp_path, "key").path
    for damage in (b"", path.read_bytes()[:-1], b"something else"):
        path.write_bytes(damage)
        with pytest.raises(ValueError, match="broken file of packed rows"):
            PackedRows(path)
        assert pack(["w0 w1 w2"], tokenizer, 2, tmp_path, "key").array.tolist() == [[5, 6], [7, 3]]


def test_pickle_holds_the_path_only(tokenizer, tmp_path):
    rows = pack([" ".join(WORDS) * 50], tokenizer, 2, tmp_path, "key")
    data = pickle.dumps(rows)
    assert len(data) < 1000
    assert np.array_equal(pickle.loads(data).array, rows.array)


@pytest.mark.parametrize("documents", [[], [""], ["w0"], ["", " \n "]])
def test_too_little_text(tokenizer, tmp_path, documents):
    with pytest.raises(ValueError, match=r"tokens, less than one row of seq_length 4"):
        pack(documents, tokenizer, 4, tmp_path, "key")
    assert not list(tmp_path.glob("*.npy"))
    assert not list(tmp_path.glob("*.partial"))


def test_bad_arguments(tokenizer, tmp_path):
    with pytest.raises(ValueError, match="seq_length=0 must be at least 1"):
        pack(["w0"], tokenizer, 0, tmp_path, "key")
    tokenizer.sep_token = None
    with pytest.raises(ValueError, match=r"no \[SEP\] token"):
        pack(["w0"], tokenizer, 1, tmp_path, "key")


def test_error_while_reading_leaves_nothing(tokenizer, tmp_path, monkeypatch):
    monkeypatch.setattr(packing, "_BATCH_CHARS", 10)

    def documents():
        yield "w0 " * 100
        raise ValueError("broken gzip file")

    with pytest.raises(ValueError, match="broken gzip"):
        pack(documents(), tokenizer, 2, tmp_path, "key")
    assert [path.suffix for path in tmp_path.iterdir()] in ([], [".lock"])


def run(code: str, *arguments: object) -> subprocess.Popen:
    path = os.pathsep.join([os.path.dirname(__file__), *sys.path])
    return subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(code), *map(str, arguments)],
        env={**os.environ, "PYTHONPATH": path},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_kill_leaves_no_cache(tokenizer, tmp_path):
    code = """
        import itertools, sys
        from test_data_packing import make_tokenizer
        from ultrafastbert.data.packing import pack
        pack(itertools.repeat("w0 w1 " * 10000), make_tokenizer(), 2, sys.argv[1], "key")
    """
    process = run(code, tmp_path)
    deadline = time.monotonic() + 60
    while not any(path.stat().st_size for path in tmp_path.glob("*.partial")):
        assert process.poll() is None, process.stderr.read()
        assert time.monotonic() < deadline
        time.sleep(0.05)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert not list(tmp_path.glob("*.npy"))
    assert pack(["w0 w1 w2"], tokenizer, 2, tmp_path, "key").array.tolist() == [[5, 6], [7, 3]]
    assert not list(tmp_path.glob("*.partial"))


def test_full_disk_is_reported(tokenizer, tmp_path):
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, hard))
    try:
        with pytest.raises(OSError, match="need more room, choose another cache_dir"):
            pack(["w0 w1 " * 50_000], tokenizer, 2, tmp_path, "key")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert not list(tmp_path.glob("*.npy"))
    assert not list(tmp_path.glob("*.partial"))


def test_no_space_left_keeps_its_number(tokenizer, tmp_path, monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(packing, "_write_rows", full)
    with pytest.raises(OSError, match="No space left on device: the packed rows need") as caught:
        pack(["w0"], tokenizer, 1, tmp_path, "key")
    assert caught.value.errno == errno.ENOSPC


def test_cache_dir_that_is_a_file(tokenizer, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match="file"):
        pack(["w0"], tokenizer, 1, tmp_path / "file", "key")
