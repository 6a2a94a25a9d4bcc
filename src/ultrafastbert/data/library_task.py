"""A labelled task that needs no network: which library does this sentence document?

Sentences come from `docstrings.harvest`. Files that `docstrings.is_held_out` names give the
validation sentences, all others the training sentences; leave them out of pretraining text too.
"""

import random
import re
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ultrafastbert.data.docstrings import LibraryText, is_held_out

if TYPE_CHECKING:
    from datasets import Dataset, Features

MIN_WORDS, MAX_WORDS = 5, 60
# Stands for every name that would give the answer away.
NEUTRAL_WORD = "library"
# Names found anywhere in a word, and short ones that must be a word of their own.
_NAMES = (
    "torch|transformers|hugging ?face|numpy|scipy|scikit|sklearn|matplotlib|pyplot|pandas|sympy|"
    "networkx|datasets|accelerate|fonttools|joblib|mpmath|fsspec|jinja|narwhals|pillow|python"
)
_ALIASES = "np|plt|mpl|pd|nx|sp|hf|pil|rich"
_SENTENCE_END = re.compile(r"(?<=[.!?])(?<!e\.g\.)(?<!i\.e\.)\s+(?=[A-Z\"(])")
_PLAIN_WORDS = re.compile(r"(?<![\w.])[a-z]+(?![\w.]*\w)")

Pools = dict[str, list[str]]


@dataclass(frozen=True)
class LibraryTask:
    """Training and validation data sets with columns `sentence` and `label`."""

    train: "Dataset"
    validation: "Dataset"
    label_names: tuple[str, ...]
    majority_accuracy: float  # on validation, by always naming one class


def library_task(
    texts: Iterable[LibraryText], n_train: int, n_validation: int, seed: int
) -> LibraryTask:
    """Draw sentences from harvested texts: `n_train` and `n_validation`, or a few less.

    All classes have one size; a library with fewer sentences than that is left out. Names of the
    libraries are replaced by a neutral word. A sentence is used once, where it occurs first;
    two sentences count as equal when their plain lower-case words are.
    Raises ValueError when less than two libraries have enough sentences.
    """
    from datasets import ClassLabel, Features, Value  # of the extra `train`

    if min(n_train, n_validation) < 2:
        raise ValueError(f"n_train={n_train} and n_validation={n_validation} must be at least 2")
    train, validation = _pools(texts)
    names = _classes(train, validation, n_train, n_validation)
    features = Features({"sentence": Value("string"), "label": ClassLabel(names=names)})
    return LibraryTask(
        train=_draw(train, names, n_train, f"train {seed}", features),
        validation=_draw(validation, names, n_validation, f"validation {seed}", features),
        label_names=tuple(names),
        majority_accuracy=1 / len(names),  # classes have one size
    )


def neutralise(text: str, libraries: Iterable[str]) -> str:
    """Replace the names and aliases of libraries, also inside dotted names, by a neutral word."""
    return _name_pattern(libraries).sub(NEUTRAL_WORD, text)


def _name_pattern(libraries: Iterable[str]) -> re.Pattern[str]:
    own = "|".join(re.escape(library) for library in sorted(libraries))
    # The lookbehind starts the search at the beginning of a word only, which makes it linear.
    return re.compile(
        rf"(?<![\w.])(?:[\w.]*?(?:{_NAMES})|(?:{_ALIASES}|{own})(?!\w))(?:[\w.]*\w)?", re.IGNORECASE
    )


def _pools(texts: Iterable[LibraryText]) -> tuple[Pools, Pools]:
    """Return the training and the validation sentences of each library, none of them twice."""
    texts = list(texts)
    pattern = _name_pattern({text.library for text in texts})
    train: Pools = defaultdict(list)
    validation: Pools = defaultdict(list)
    seen: set[str] = set()
    for text in texts:
        pool = validation if is_held_out(text) else train
        for sentence in _sentences(pattern.sub(NEUTRAL_WORD, text.text)):
            key = " ".join(_PLAIN_WORDS.findall(sentence))
            if key not in seen:
                seen.add(key)
                pool[text.library].append(sentence)
    return train, validation


def _sentences(text: str) -> list[str]:
    sentences = (s for line in text.split("\n") for s in _SENTENCE_END.split(line))
    return [s for s in sentences if s[-1:] in ".!?" and MIN_WORDS <= len(s.split()) <= MAX_WORDS]


def _classes(train: Pools, validation: Pools, n_train: int, n_validation: int) -> list[str]:
    """Return the libraries that fill a class's share; the smallest is dropped until all do."""
    fill = {
        name: min(len(train[name]) / n_train, len(validation.get(name, ())) / n_validation)
        for name in sorted(train)
    }
    while len(fill) >= 2:
        smallest = min(fill, key=lambda name: fill[name])
        if fill[smallest] * len(fill) >= 1 and len(fill) <= min(n_train, n_validation):
            return list(fill)
        del fill[smallest]
    raise ValueError(
        f"the library task needs at least 2 libraries with enough sentences for n_train={n_train} "
        f"and n_validation={n_validation}: install more of them or ask for fewer sentences"
    )


def _draw(
    pools: Mapping[str, list[str]], names: list[str], n: int, seed: str, features: "Features"
) -> "Dataset":
    from datasets import Dataset

    generator = random.Random(seed)
    n_each = n // len(names)
    rows = [
        (sentence, label)
        for label, name in enumerate(names)
        for sentence in generator.sample(pools[name], n_each)
    ]
    generator.shuffle(rows)
    sentences, labels = zip(*rows, strict=True)
    return Dataset.from_dict({"sentence": sentences, "label": labels}, features=features)
