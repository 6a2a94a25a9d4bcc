"""transformers' pipelines on saved folders, without any network."""

import socket

import pytest
import torch
from tiny_models import tiny
from transformers import AutoTokenizer, pipeline

from ultrafastbert import (
    UltraFastBertForMaskedLM,
    UltraFastBertForSentenceEmbedding,
    UltraFastBertForSequenceClassification,
    UltraFastBertForTokenClassification,
    UltraFastBertModel,
)
from ultrafastbert.inference.fill_mask import fill_mask

TEXT = "The small tree visits the deep leaf."


@pytest.fixture(autouse=True)
def no_network(monkeypatch):
    def refuse(*_):
        raise AssertionError("a saved folder needs no network")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)


@pytest.fixture
def saved(tokenizer, tmp_path):
    def save(model_class, **options):
        torch.manual_seed(0)
        model = model_class(tiny(vocab_size=len(tokenizer), **options)).eval()
        model.save_pretrained(tmp_path)
        tokenizer.save_pretrained(tmp_path)
        loaded = AutoTokenizer.from_pretrained(tmp_path)
        loaded.model_max_length = 16
        loaded.save_pretrained(tmp_path)
        return model, str(tmp_path)

    return save


def test_fill_mask(saved):
    _, folder = saved(UltraFastBertForMaskedLM)
    text = "the [MASK] tree"
    guesses = pipeline("fill-mask", folder)(text, top_k=3)
    expected = fill_mask(folder, text, top=3)[0]
    assert [guess["token_str"] for guess in guesses] == [token for token, _ in expected]
    assert [guess["score"] for guess in guesses] == pytest.approx([p for _, p in expected])


def test_text_classification(saved):
    names = {0: "bad", 1: "good", 2: "neither"}
    model, folder = saved(UltraFastBertForSequenceClassification, id2label=names)
    classify = pipeline("text-classification", folder, top_k=None)
    texts = [TEXT, "The path."]  # padded in the second call
    one_by_one, together = classify(texts), classify(texts, batch_size=2)
    for scores in (one_by_one, together):
        for text, row in zip(texts, scores, strict=True):
            logits = model(**classify.tokenizer(text, return_tensors="pt")).logits
            expected = dict(zip(names.values(), logits.softmax(-1)[0].tolist(), strict=True))
            assert {entry["label"]: entry["score"] for entry in row} == pytest.approx(expected)
    assert classify(TEXT * 20, truncation=True)
    with pytest.raises(ValueError, match="max_position_embeddings=16"):
        classify(TEXT * 20)


def test_token_classification(saved):
    model, folder = saved(UltraFastBertForTokenClassification, id2label={0: "A", 1: "B"})
    find = pipeline("token-classification", folder, ignore_labels=[])
    entities = find(TEXT)
    encoded = find.tokenizer(TEXT, return_tensors="pt")
    labels = model(**encoded).logits.argmax(-1)[0, 1:-1]  # without [CLS] and [SEP]
    assert [e["entity"] for e in entities] == ["AB"[label] for label in labels]
    tokens = find.tokenizer.convert_ids_to_tokens(encoded["input_ids"][0])[1:-1]
    spans = [TEXT[e["start"] : e["end"]].lower() for e in entities]
    assert spans == [token.removeprefix("##") for token in tokens]
    words = pipeline("ner", folder, ignore_labels=[], aggregation_strategy="first")(TEXT)
    assert "".join(word["word"] for word in words).replace(" ", "") == TEXT.lower().replace(" ", "")


@pytest.mark.parametrize("model_class", [UltraFastBertModel, UltraFastBertForMaskedLM])
def test_feature_extraction(saved, model_class):
    model, folder = saved(model_class)
    extract = pipeline("feature-extraction", folder)
    features = extract(TEXT, return_tensors=True)
    encoder = model if model_class is UltraFastBertModel else model.model
    expected = encoder(**extract.tokenizer(TEXT, return_tensors="pt")).last_hidden_state
    torch.testing.assert_close(features, expected)


def test_sentence_embedding_of_a_saved_encoder(saved):
    _, folder = saved(UltraFastBertForMaskedLM)
    model = UltraFastBertForSentenceEmbedding.from_pretrained(folder, normalize_embeddings=True)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    texts = [TEXT, "The path.", TEXT]
    vectors = model.eval()(**tokenizer(texts, return_tensors="pt", padding=True)).pooler_output
    cosines = vectors @ vectors.T
    torch.testing.assert_close(cosines.diagonal(), torch.ones(3))
    torch.testing.assert_close(cosines[0, 2], torch.tensor(1.0))
    assert cosines[0, 1] < 0.999
