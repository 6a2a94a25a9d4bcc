import hashlib
import json
import os
import random
import subprocess
import sys

import pytest
from transformers import AutoTokenizer

from ultrafastbert.data.tokenizer import SPECIAL_TOKENS, load_tokenizer, train_tokenizer


def documents():
    generator = random.Random(0)
    letters = "abcdefghijklmnopqrstuvwxyzäöüßéñ日本語жшю😀"
    return [
        " ".join("".join(generator.choices(letters, k=5)) for _ in range(60)) + " The end. A's"
        for _ in range(40)
    ]


@pytest.fixture(scope="module")
def tokenizer():
    return train_tokenizer(documents(), 300, model_max_length=64)


def test_special_tokens_come_first(tokenizer):
    assert tokenizer.convert_tokens_to_ids(list(SPECIAL_TOKENS)) == [0, 1, 2, 3, 4]
    assert (tokenizer.pad_token_id, tokenizer.mask_token_id) == (0, 4)
    assert len(tokenizer) == 300
    assert sorted(tokenizer.get_vocab().values()) == list(range(300))


def test_single_and_pair_without_token_types(tokenizer):
    cls, sep = tokenizer.cls_token_id, tokenizer.sep_token_id
    encoded = tokenizer("the end", "a")
    assert set(encoded) == {"input_ids", "attention_mask"}
    ids = encoded["input_ids"]
    assert ids[0] == cls
    assert ids[-1] == sep
    assert ids.count(sep) == 2
    assert tokenizer("the end", truncation=True)["input_ids"] == ids[: ids.index(sep) + 1]
    assert len(tokenizer("end " * 999, truncation=True)["input_ids"]) == 64


def test_lowercase_is_a_choice(tokenizer):
    assert tokenizer.tokenize("The END") == tokenizer.tokenize("the end")
    cased = train_tokenizer(["The THE the. " * 30], 64, lowercase=False)
    assert cased.tokenize("The") != cased.tokenize("the")


def test_save_and_load_give_identical_ids(tokenizer, tmp_path):
    tokenizer.save_pretrained(tmp_path)
    texts = [*documents()[:5], "Ünïcode, 😀 日本語 [MASK] x", ""]
    expected = tokenizer(texts, texts[::-1], truncation=True)["input_ids"]
    for loaded in (AutoTokenizer.from_pretrained(tmp_path), load_tokenizer(tmp_path)):
        assert loaded(texts, texts[::-1], truncation=True)["input_ids"] == expected
        assert loaded.model_input_names == ["input_ids", "attention_mask"]
        assert loaded.model_max_length == 64
        assert loaded.mask_token_id == 4


def test_vocabulary_file(tokenizer, tmp_path):
    vocab = tokenizer.get_vocab()
    path = tmp_path / "vocab.txt"
    path.write_text("".join(f"{t}\n" for t in sorted(vocab, key=vocab.__getitem__)), "utf-8")
    loaded = load_tokenizer(path)
    assert loaded.get_vocab() == vocab
    assert loaded("The end.")["input_ids"] == tokenizer("The end.")["input_ids"]


def digest_of_vocabulary() -> str:
    vocab = train_tokenizer(iter(documents()), 300).get_vocab()
    return hashlib.sha256(json.dumps(vocab, sort_keys=True).encode()).hexdigest()


@pytest.mark.slow
def test_training_is_repeatable_across_processes():
    code = "import test_data_tokenizer as t; print(t.digest_of_vocabulary())"
    digest = subprocess.check_output(
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "PYTHONHASHSEED": "1"},
        cwd=os.path.dirname(__file__),
        text=True,
    )
    # The trainer's own hash maps are seeded anew in every training.
    assert {digest.strip()} == {digest_of_vocabulary() for _ in range(3)}


def test_rare_characters_do_not_crowd_the_vocabulary_out():
    rare = "".join(chr(0x4E00 + i) for i in range(5000))
    tokenizer = train_tokenizer(["the words of the text " * 200 + rare], 128)
    assert len(tokenizer) <= 128
    assert tokenizer.tokenize("words") == ["words"]


def test_bad_arguments(tmp_path):
    with pytest.raises(ValueError, match="vocab_size=5 must be at least 64"):
        train_tokenizer(["text"], 5)
    for empty in ([], ["", " \n"]):
        with pytest.raises(ValueError, match="no text"):
            train_tokenizer(empty, 100)
    with pytest.raises(FileNotFoundError, match="tokenizer not found"):
        load_tokenizer(tmp_path / "nothing")
    with pytest.raises(ValueError, match="no tokenizer in"):
        load_tokenizer(tmp_path)
    (tmp_path / "vocab.txt").write_text("[PAD]\nword\n")
    with pytest.raises(ValueError, match=r"lacks \[UNK\], \[CLS\], \[SEP\], \[MASK\]"):
        load_tokenizer(tmp_path / "vocab.txt")
    (tmp_path / "vocab.txt").write_bytes(b"\xff\xfe\0")
    with pytest.raises(ValueError, match="not UTF-8"):
        load_tokenizer(tmp_path / "vocab.txt")


def test_hub_offline(monkeypatch):
    def fail(_):
        raise OSError("We couldn't connect to the hub.\nmore")

    monkeypatch.setattr(AutoTokenizer, "from_pretrained", fail)
    with pytest.raises(
        OSError, match=r"cannot load the tokenizer nobody/nothing: We .* hub\. Give"
    ):
        load_tokenizer("nobody/nothing")
