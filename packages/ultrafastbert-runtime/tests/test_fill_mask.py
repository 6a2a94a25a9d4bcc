"""The likeliest tokens for masks."""

import numpy as np
import pytest
from tiny import VOCAB, states, weights, write_folder, write_json
from ultrafastbert_runtime import FillMask


@pytest.fixture(scope="module")
def fill_mask(tmp_path_factory):
    return FillMask(write_folder(tmp_path_factory.mktemp("model"), "masked"))


def probabilities(text, place):
    ids = np.array([VOCAB["[CLS]"], *(VOCAB[word] for word in text.split()), VOCAB["[SEP]"]])
    logits = (states(ids, np.zeros_like(ids)) @ weights()[0].T)[place]
    return np.exp(logits) / np.exp(logits).sum()


def test_one_mask(fill_mask):
    guesses = fill_mask("the [MASK] skips a leaf", top_k=3)
    wanted = probabilities("the [MASK] skips a leaf", 2)
    assert [guess["token"] for guess in guesses] == np.argsort(-wanted)[:3].tolist()
    for guess in guesses:
        assert guess["score"] == pytest.approx(wanted[guess["token"]], abs=1e-5)
        assert VOCAB[guess["token_str"]] == guess["token"]
    word = next(guess for guess in guesses)["token_str"]
    assert guesses[0]["sequence"] == " ".join(
        w for w in ["the", word, "skips", "a", "leaf"] if not w.startswith("[")
    )


def test_several_masks_and_several_texts(fill_mask):
    first, second = fill_mask("[MASK] tree [MASK]", top_k=2)
    assert len(first) == len(second) == 2
    assert second[0]["sequence"].startswith("[CLS] [MASK] tree")
    found = fill_mask(["a [MASK]", "[MASK] tree [MASK]"], top_k=2)
    assert found == [fill_mask("a [MASK]", top_k=2), [first, second]]
    assert fill_mask([]) == []
    assert len(fill_mask("a [MASK]", top_k=999)) == len(VOCAB)


@pytest.mark.parametrize(
    ("texts", "options", "error", "message"),
    [
        ("a word", {}, ValueError, r"has no \[MASK\] to fill"),
        ("tree " * 70 + "[MASK]", {}, ValueError, r"in the first 64 tokens"),
        (["[MASK]", None], {}, TypeError, r"texts\[1\] is of type NoneType"),
        ("[MASK]", {"top_k": 0}, ValueError, "top_k=0"),
    ],
)
def test_wrong_calls(fill_mask, texts, options, error, message):
    with pytest.raises(error, match=message):
        fill_mask(texts, **options)


def test_masks_of_other_tokenizers(tmp_path):
    write_folder(tmp_path, "masked")
    write_json(tmp_path / "tokenizer_config.json", {"mask_token": {"content": "tree"}})
    assert FillMask(tmp_path).mask_token == "tree"
    write_json(tmp_path / "tokenizer_config.json", {"mask_token": "<mask>"})
    with pytest.raises(ValueError, match="has no token '<mask>'"):
        FillMask(tmp_path)
