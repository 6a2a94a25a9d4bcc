import re

import pytest

from ultrafastbert.data.docstrings import LibraryText, is_held_out
from ultrafastbert.data.library_task import library_task, neutralise

LETTERS = "abcdefghijklmnopqrstuvwxyz"


def word(number: int) -> str:
    return "".join(LETTERS[number // 26**k % 26] for k in range(4))


def texts(library: str, n_files: int = 80, n_sentences: int = 10) -> list[LibraryText]:
    """Files whose sentences all differ; "Torch" gives them away unless it is replaced."""
    start = sum(map(ord, library)) * 100
    return [
        LibraryText(
            library,
            f"file{i}.py",
            " ".join(
                f"Use {library}.{word(start + i)} or np.sum for {word(start + i * 20 + j)} things."
                for j in range(n_sentences)
            ),
        )
        for i in range(n_files)
    ]


@pytest.fixture(scope="module")
def three():
    return [*texts("torch"), *texts("numpy"), *texts("small", n_files=8)]


def test_balanced_sizes_and_labels(three):
    task = library_task(three, n_train=200, n_validation=51, seed=0)
    assert task.label_names == ("numpy", "torch")  # the third has too few sentences
    assert task.train.features["label"].names == ["numpy", "torch"]
    assert task.train.column_names == ["sentence", "label"]
    assert (len(task.train), len(task.validation)) == (200, 50)
    assert task.train["label"].count(1) == 100
    assert task.validation["label"].count(1) == 25
    assert task.majority_accuracy == 0.5


def test_small_library_takes_part_when_it_can(three):
    task = library_task(three, n_train=60, n_validation=6, seed=0)
    assert set(task.label_names) == {"numpy", "small", "torch"}
    assert task.majority_accuracy == pytest.approx(1 / 3)


def test_split_by_file_without_common_sentences(three):
    task = library_task(three, 600, 100, seed=0)
    held_out = "\n".join(neutralise(text.text, []) for text in three if is_held_out(text))
    assert all(sentence in held_out for sentence in task.validation["sentence"])
    assert not any(sentence in held_out for sentence in task.train["sentence"])
    sentences = [*task.train["sentence"], *task.validation["sentence"]]
    assert len(set(sentences)) == len(sentences)
    assert not any(re.search(r"torch|numpy|\bnp\b", s, re.IGNORECASE) for s in sentences)
    assert all("library or library for" in sentence for sentence in sentences)


def test_deterministic_and_seeded(three):
    a, b, c = (library_task(iter(three), 100, 20, seed=seed) for seed in (0, 0, 1))
    assert a.train["sentence"][:] == b.train["sentence"][:]
    assert a.validation["label"][:] == b.validation["label"][:]
    assert a.train["sentence"][:] != c.train["sentence"][:]


def test_near_duplicates_and_odd_lengths_are_dropped():
    templates = "The model of {}Config is the same as that of the base class {}. Short one. "
    same = [
        LibraryText(library, f"f{i}.py", templates.format(f"X{i}", i) + "word " * 70 + "end.")
        for library in ("torch", "numpy")
        for i in range(100)
    ]
    with pytest.raises(ValueError, match="at least 2 libraries with enough sentences"):
        library_task(same, 2, 2, seed=0)


@pytest.mark.parametrize("few", [[], texts("torch"), texts("torch", 1) + texts("numpy", 1)])
def test_too_few_libraries(few):
    with pytest.raises(ValueError, match="install more of them or ask for fewer sentences"):
        library_task(few, 100, 20, seed=0)


def test_bad_sizes(three):
    with pytest.raises(ValueError, match="n_validation=0 must be at least 2"):
        library_task(three, 10, 0, seed=0)


def test_neutralise():
    text = "PyTorch's torch_dtype and np.array in jinja2, but snp or npx. PIL.Image; Hugging Face."
    assert neutralise(text, ["PIL"]) == (
        "library's library and library in library, but snp or npx. library; library."
    )
