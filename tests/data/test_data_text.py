import gzip
import os
from pathlib import Path

import pytest

from ultrafastbert.data import text
from ultrafastbert.data.text import read_documents, source_key, split_documents

TWO = "First paragraph.\nSecond, with ünïcode 😀.\n\n\n  \nAnother document.\n"
EXPECTED = ["First paragraph.\nSecond, with ünïcode 😀.", "Another document."]


def write(path: Path, content: str | bytes = TWO) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def test_file_gzip_and_unusual_suffix(tmp_path):
    for name, content in (
        ("a.txt", TWO.encode()),
        ("a.txt.gz", gzip.compress(TWO.encode())),
        ("zipped.txt", gzip.compress(TWO.encode())),  # known by its first bytes
        ("corpus", TWO.replace("\n", "\r\n").encode()),
        ("bom.txt", TWO.encode("utf-8-sig")),
    ):
        assert list(read_documents(write(tmp_path / name, content))) == EXPECTED, name


def test_folder_is_recursive_sorted_and_takes_text_only(tmp_path):
    write(tmp_path / "b.txt", "b")
    write(tmp_path / "a" / "z.md", "a z")
    write(tmp_path / "a" / "y.TXT.gz", gzip.compress(b"a y", mtime=0))
    write(tmp_path / "a" / "picture.png", b"\x89PNG\0")
    write(tmp_path / ".hidden" / "c.txt", "hidden")
    assert list(read_documents(str(tmp_path))) == ["a y", "a z", "b"]


def test_several_sources_keep_their_order(tmp_path):
    first, second = write(tmp_path / "2.txt", "two"), write(tmp_path / "1.txt", "one")
    assert list(read_documents([first, str(second)])) == ["two", "one"]


def test_long_text_without_blank_lines_comes_in_pieces(tmp_path, monkeypatch):
    monkeypatch.setattr(text, "MAX_DOCUMENT_CHARS", 10)
    path = write(tmp_path / "a.txt", "123456\n123456\n123\n")
    assert list(read_documents(path)) == ["123456\n123456", "123"]


def test_reading_is_lazy(tmp_path):
    path = write(tmp_path / "a.txt", b"good\n\n\xff\xff\n")
    assert next(read_documents(path)) == "good"


def test_missing_sources_are_named_at_once(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"not found: .*nothing\.txt"):
        read_documents(tmp_path / "nothing.txt")
    with pytest.raises(FileNotFoundError, match="no text files"):
        read_documents(tmp_path)
    with pytest.raises(ValueError, match="names no text"):
        read_documents([])


@pytest.mark.parametrize("content", [b"", b"\n \n\n", gzip.compress(b"", mtime=0)])
def test_empty_corpus(tmp_path, content):
    with pytest.raises(ValueError, match=r"no documents in .*empty"):
        list(read_documents(write(tmp_path / "a.txt", content)))


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("latin.txt", "caf\xe9".encode("latin-1"), r"latin\.txt is not UTF-8"),
        ("utf16.txt", "text".encode("utf-16"), r"utf16\.txt is not UTF-8"),
        ("binary.txt", b"abc\0def", r"binary\.txt is a binary file"),
        ("fake.txt.gz", b"no gzip", r"broken gzip file .*fake\.txt\.gz"),
        ("cut.txt.gz", gzip.compress(os.urandom(999).hex().encode())[:-40], "broken gzip file .*"),
        (
            "bad.gz",
            gzip.compress(b"text" * 99, mtime=0)[:12] + b"\xff" * 30,
            r"broken gzip file .*bad\.gz",
        ),
    ],
    ids=["latin", "utf16", "binary", "fake", "cut", "bad"],
)
def test_unreadable_files_are_named(tmp_path, name, content, message):
    with pytest.raises(ValueError, match=message):
        list(read_documents(write(tmp_path / name, content)))


def test_source_key_follows_the_files(tmp_path):
    path = write(tmp_path / "a.txt")
    key = source_key(path)
    assert key == source_key(str(path)) == source_key([path])
    assert key != source_key("hf:name")
    write(path, TWO + "more")
    assert key != source_key(path)


def test_split_is_a_partition():
    documents = [str(i) for i in range(10)]
    assert list(split_documents(documents, 4, validation=True)) == ["3", "7"]
    assert list(split_documents(documents, 4, validation=False)) == list("01245689")
    with pytest.raises(ValueError, match="at least 2"):
        list(split_documents(documents, 1, validation=True))


def test_hub_data_set(monkeypatch):
    import datasets

    def load(name, config, split, streaming):
        assert (name, config, split, streaming) == ("owner/name", "config", "train", True)
        return iter([{"text": "one"}, {"text": "  "}, {"text": "two"}])

    monkeypatch.setattr(datasets, "load_dataset", load)
    assert list(read_documents("hf:owner/name:config")) == ["one", "two"]


def test_hub_data_set_without_text(monkeypatch):
    import datasets

    monkeypatch.setattr(datasets, "load_dataset", lambda *_, **__: iter([{"review": "x"}]))
    with pytest.raises(ValueError, match=r'no column "text".*review'):
        list(read_documents("hf:name"))


def test_hub_offline(monkeypatch):
    import datasets
    import huggingface_hub.constants

    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(OSError, match=r"hub data set hf:nobody/nothing: .* or give a local text"):
        next(read_documents("hf:nobody/nothing"))
