"""Labels and their probabilities, of texts and pairs."""

import numpy as np
import pytest
from tiny import VOCAB, states, weights, write_folder, write_json
from ultrafastbert_runtime import Classifier

LABELS = {"id2label": {"0": "bad", "1": "fair", "2": "good"}}


@pytest.fixture(scope="module")
def classifier(tmp_path_factory):
    return Classifier(write_folder(tmp_path_factory.mktemp("model"), "classifier", **LABELS))


def logits(text, pair=None):
    first = [VOCAB["[CLS]"], *(VOCAB[word] for word in text.split()), VOCAB["[SEP]"]]
    second = [] if pair is None else [*(VOCAB[word] for word in pair.split()), VOCAB["[SEP]"]]
    types = np.array([0] * len(first) + [1] * len(second))
    return states(np.array(first + second), types)[0] @ weights()[3]


def softmax(x):
    return np.exp(x) / np.exp(x).sum()


def test_probabilities_of_texts_and_pairs_in_order(classifier, texts):
    texts = [text for text in texts if len(text.split()) < 38]
    wanted = [softmax(logits(text)) for text in texts]
    np.testing.assert_allclose(classifier.probabilities(texts), wanted, atol=1e-6)
    np.testing.assert_allclose(classifier.probabilities(iter(texts)), wanted, atol=1e-6)
    pairs = [("a tree", "the leaf skips"), ("", "a"), ("a leaf skips the tree", "")]
    wanted = [softmax(logits(*pair)) for pair in pairs]
    np.testing.assert_allclose(classifier.probabilities(pairs), wanted, atol=1e-6)
    mixed = classifier.probabilities([*pairs, "a tree"])
    np.testing.assert_allclose(mixed[-1], softmax(logits("a tree")), atol=1e-6)


def test_one_text_or_pair_gets_one_answer(classifier):
    assert classifier.probabilities("a tree").shape == (3,)
    assert classifier.probabilities(("a tree", "a leaf")).shape == (3,)
    assert classifier.probabilities([("a tree", "a leaf")]).shape == (1, 3)
    assert classifier.probabilities([]).shape == (0, 3)


def test_labels_the_likeliest_first(classifier):
    (best,) = classifier("a tree")
    scores = softmax(logits("a tree"))
    assert best["label"] == ["bad", "fair", "good"][scores.argmax()]
    assert best["score"] == pytest.approx(scores.max(), abs=1e-6)
    several = classifier(["a tree", "a leaf"], top_k=None)
    assert [len(labels) for labels in several] == [3, 3]
    assert several[0][0] == pytest.approx(best)
    assert [entry["score"] for entry in several[1]] == sorted(
        (entry["score"] for entry in several[1]), reverse=True
    )


def test_several_labels_at_once_and_numbers(tmp_path):
    multi = Classifier(
        write_folder(tmp_path, "classifier", problem_type="multi_label_classification", **LABELS)
    )
    wanted = 1 / (1 + np.exp(-logits("a tree")))
    np.testing.assert_allclose(multi.probabilities("a tree"), wanted, atol=1e-6)
    write_json(tmp_path / "config.json", {"problem_type": "regression", **LABELS})
    numbers = Classifier(tmp_path).probabilities("a tree")
    np.testing.assert_allclose(numbers, logits("a tree"), atol=1e-5)


WRONG = {
    "item": (["a", 3], {}, TypeError, r"texts\[1\] is of type int"),
    "three": ([("a", "b", "c")], {}, TypeError, r"texts\[0\] is of type tuple"),
    "half": ([("a", None)], {}, TypeError, r"texts\[0\]\[1\] is of type NoneType"),
    "top": ("a", {"top_k": 0}, ValueError, "top_k=0"),
    "tokens": ("a", {"token_budget": 0}, ValueError, "token_budget=0"),
}


@pytest.mark.parametrize("case", WRONG)
def test_wrong_calls(classifier, case):
    texts, options, error, message = WRONG[case]
    with pytest.raises(error, match=message):
        classifier(texts, **options)


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        ({"0": "a", "1": "b"}, "do not fit the 2 labels"),
        ({"1": "a"}, "must number labels from 0"),
        (["a"], "must number labels from 0"),
    ],
)
def test_labels_that_do_not_fit(tmp_path, labels, message):
    write_folder(tmp_path, "classifier", id2label=labels)
    with pytest.raises(ValueError, match=message):
        Classifier(tmp_path)("a tree")
