"""Texts and pairs to convert with, and their batches."""

from transformers import CanineTokenizer, RobertaTokenizer

from ultrafastbert.data.sampling import pieces, sample, texts_of
from ultrafastbert.data.text_batches import batches_of


def test_pairs_and_single_texts_share_batches(typed_tokenizer):
    texts = ["the small tree", ("a leaf", "the deep node finds the path"), "a leaf"]
    (batch,) = batches_of(typed_tokenizer, texts, max_length=8)
    order = ["a leaf", "the small tree", texts[1]]  # of both parts' length
    for row, text in enumerate(order):
        parts = (text,) if isinstance(text, str) else text
        alone = typed_tokenizer(*parts, truncation=True, max_length=8, padding="max_length")
        assert {name: batch[name][row].tolist() for name in batch} == dict(alone)
    a, leaf, sep = typed_tokenizer.convert_tokens_to_ids(["a", "leaf", "[SEP]"])
    assert batch["input_ids"][2, 1:4].tolist() == [a, leaf, sep]  # the longer part is cut
    assert batch["token_type_ids"].tolist() == [[0] * 8, [0] * 8, [0] * 4 + [1] * 4]


def test_pairs_in_the_format_of_other_tokenizers():
    tokens = ["<s>", "<pad>", "</s>", "<unk>", "<mask>", *"abcd"]
    roberta = RobertaTokenizer(vocab={token: i for i, token in enumerate(tokens)}, merges=[])
    (batch,) = batches_of(roberta, [("a", "bcd"), "ab"], max_length=7)
    assert batch["input_ids"].tolist() == [[0, 5, 6, 2, 1, 1, 1], [0, 5, 2, 2, 6, 7, 2]]
    assert "token_type_ids" not in batch
    in_python = CanineTokenizer()
    (batch,) = batches_of(in_python, [("a", "bcd"), "ab"], max_length=7)
    cls, sep = in_python.cls_token_id, in_python.sep_token_id
    assert batch["input_ids"][1].tolist() == [cls, *map(ord, "a"), sep, *map(ord, "bcd"), sep]
    assert batch["attention_mask"].sum(1).tolist() == [4, 7]


def test_a_single_long_document_has_parts_to_hold_out(tmp_path):
    path = tmp_path / "long.txt"
    path.write_text("\n".join(f"line {i}" for i in range(4000)))
    held_out, others = texts_of(path, True), texts_of(path, False)
    assert len(held_out) == 200
    assert len(others) == 3800
    assert not set(held_out) & set(others)


def joined(text):
    return text if isinstance(text, str) else " ".join(text)


def n_sentences(text):
    return text.count(".")


def test_half_of_the_pieces_of_several_sentences_are_pairs(documents):
    cut = list(pieces(documents))
    assert " ".join(map(joined, cut)) == " ".join(documents)
    pairs = [piece for piece in cut if isinstance(piece, tuple)]
    several = [piece for piece in cut if n_sentences(joined(piece)) > 1]
    assert 0.4 < len(pairs) / len(several) < 0.6
    assert {tuple(map(n_sentences, pair)) for pair in pairs} == {(1, 1), (1, 2), (2, 2)}
    assert list(pieces(documents)) == cut
    alone = [sentence for document in documents for sentence in document.split(". ")]
    assert list(pieces(alone)) == alone


def test_texts_are_a_shuffled_sample_of_pieces():
    cut = list(pieces(["One. Two! Three? Four. ", "Five"]))
    assert " ".join(map(joined, cut)) == "One. Two! Three? Four. Five"
    assert len(cut) > 2
    items = [str(i) for i in range(100)]
    drawn = sample(items, 50)
    assert len(set(drawn)) == 50
    assert drawn != sorted(drawn, key=int)
    assert set(sample(items)) == set(items)
