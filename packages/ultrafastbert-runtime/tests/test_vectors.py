"""Where vectors go, and what they are made of."""

import tracemalloc

import numpy as np
import pytest
from tiny import HIDDEN
from ultrafastbert_runtime import texts as text_module
from ultrafastbert_runtime.vectors import quantize


@pytest.fixture
def small_windows(monkeypatch):
    monkeypatch.setattr(text_module, "WINDOW_TEXTS", 16)


@pytest.mark.usefixtures("small_windows")
@pytest.mark.parametrize("source", [list, iter])
def test_into_arrays_maps_and_files(encoder, texts, tmp_path, source):
    wanted = encoder.encode(texts)
    array = np.full((len(texts), HIDDEN), np.nan, np.float32)
    assert encoder.encode(source(texts), out=array) is array
    assert np.array_equal(array, wanted)
    shape = (len(texts), HIDDEN)
    mapped = np.memmap(tmp_path / "raw", np.float32, "w+", shape=shape)
    assert encoder.encode(source(texts), out=mapped) is mapped
    assert np.array_equal(np.fromfile(tmp_path / "raw", np.float32).reshape(shape), wanted)
    found = encoder.encode(source(texts), out=tmp_path / "file.npy")
    assert isinstance(found, np.memmap)
    assert np.array_equal(found, wanted)
    assert np.array_equal(np.load(tmp_path / "file.npy"), wanted)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file.npy", "raw"]


@pytest.mark.parametrize("precision", ["binary", "ubinary"])
def test_bits_into_files(encoder, texts, tmp_path, precision):
    found = encoder.encode(iter(texts), precision=precision, out=str(tmp_path / "bits.npy"))
    assert np.array_equal(found, encoder.encode(texts, precision=precision))


def test_no_texts_into_a_file(encoder, tmp_path):
    assert encoder.encode(iter(()), out=tmp_path / "none.npy").shape == (0, HIDDEN)
    assert np.load(tmp_path / "none.npy").shape == (0, HIDDEN)


@pytest.mark.usefixtures("small_windows")
def test_a_file_is_there_only_when_all_is_in_it(encoder, texts, tmp_path):
    path = tmp_path / "file.npy"
    path.write_bytes(b"before")
    with pytest.raises(TypeError, match=r"texts\[50\]"):
        encoder.encode([*texts[:50], None], out=path)
    assert path.read_bytes() == b"before"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.usefixtures("small_windows")
def test_memory_does_not_grow_with_the_number_of_texts(encoder, tmp_path):
    def peak(n):
        tracemalloc.start()
        encoder.encode(("a tree" for _ in range(n)), out=tmp_path / "file.npy")
        found = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return found

    peak(100)
    assert peak(4000) < 1.2 * peak(400)


@pytest.mark.parametrize(
    ("out", "message"),
    [
        (np.empty((2, HIDDEN)), "dtype float64 must be writable, of shape"),
        (np.empty((3, HIDDEN), np.float32), r"shape \(3, 8\)"),
        (np.empty(2, np.float32), r"shape \(2,\)"),
        ("vectors.txt", r"must be a \.npy file"),
        ("missing/vectors.npy", "in a folder that exists"),
    ],
)
def test_an_out_that_does_not_fit(encoder, out, message):
    with pytest.raises(ValueError, match=message):
        encoder.encode(["a", "tree"], out=out)


def test_more_texts_than_rows_and_less(encoder, texts):
    out = np.zeros((3, HIDDEN), np.float32)
    with pytest.raises(ValueError, match="out has 3 rows, and there are more texts"):
        encoder.encode(iter(texts), out=out)
    assert len(encoder.encode(iter(texts[:2]), out=out)) == 2


def test_quantized_as_documented():
    vectors = np.array([[0, -255, 5], [510, 1, 5], [255, 255, 5]], np.float32)
    assert quantize(vectors, "uint8").tolist() == [[0, 0, 0], [255, 128, 0], [127, 255, 0]]
    assert quantize(vectors, "int8").tolist() == [
        [-128, -128, -128],
        [127, 0, -128],
        [-1, 127, -128],
    ]
    assert quantize(vectors, "ubinary").tolist() == [[0b00100000], [0b11100000], [0b11100000]]
    assert quantize(vectors, "binary").tolist() == [[32 - 128], [224 - 128], [224 - 128]]
