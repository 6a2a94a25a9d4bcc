"""Collections of texts of every kind, and what is none."""

import random
from pathlib import Path

import numpy as np
import pandas as pd
from datasets import Dataset


def shuffled_index(texts):
    index = list(range(10, 10 + len(texts)))
    random.Random(0).shuffle(index)
    return pd.Series(texts, index=index, dtype=object)


def object_array(texts):
    array = np.empty(len(texts), dtype=object)
    array[:] = texts
    return array


# Everything that gives texts in an order of its own.
KINDS = {
    "list": list,
    "tuple": tuple,
    "generator": lambda texts: (text for text in texts),
    "iterator": iter,
    "array": lambda texts: np.array(texts, dtype=str),
    "array of objects": object_array,
    "series": lambda texts: pd.Series(texts, dtype=str),
    "series with another index": shuffled_index,
    "index": lambda texts: pd.Index(texts, dtype=object),
    "column": lambda texts: Dataset.from_dict({"text": texts})["text"],
    "dict values": lambda texts: dict(enumerate(texts)).values(),
    "numpy strings": lambda texts: [np.str_(text) for text in texts],
    "reversed": lambda texts: reversed(texts[::-1]),
}

NO_COLLECTIONS = {
    "text": ("A man", r"documents='A man' is a single text: give a collection"),
    "text of numpy": (np.array("A man"), "single text"),
    "bytes": (b"A man", r"documents is of type bytes, .* decode"),
    "path": (Path("a.txt"), "is of type PosixPath, .* not the file"),
    "dict": ({"a": 1}, "is of type dict, .* a list of its values"),
    "set": ({"a", "b"}, "is of type set, .* no order"),
    "frozenset": (frozenset("ab"), "is of type frozenset, .* no order"),
    "table": (pd.DataFrame({"a": ["b"]}), "is of type DataFrame, .* one of its columns"),
    "nothing": (None, "is of type NoneType, .* such as a list"),
    "number": (3, "is of type int, .* such as a list"),
    "array of nothing": (np.array(1.0), "is of type ndarray, .* such as a list"),
}
NO_TEXTS = {
    "missing": (["a", None], r"documents\[1\]=None is of type NoneType, not a text: .* missing"),
    "nan": (
        pd.Series(["a", float("nan")], dtype=object),
        r"\[1\]=nan is of type float, not a text",
    ),
    "nan of numpy": (["a", np.float32("nan")], r"\[1\].* missing"),
    "number": (["a", 3], r"\[1\]=3 is of type int, not a text: give a str"),
    "bytes": (["a", b"b"], r"\[1\]=b'b' is of type bytes, not a text: decode"),
    "nested": ([["a", "b"]], r"\[0\]=\['a', 'b'\] is of type list, not a text: .* item of its own"),
    "pairs": ([("a", "b")], r"\[0\].* is of type tuple, not a text"),
    "two axes": (np.array([["a", "b"]]), r"\[0\].* is of type ndarray, not a text"),
    "path": ([Path("a.txt")], r"\[0\].* is of type PosixPath, not a text: .* not the file"),
    "rows": (Dataset.from_dict({"text": ["a"]}), r"\[0\].* of type dict, not a text: .* fields"),
    "undecoded": (["a", "caf\udce9"], r"\[1\]='caf\\udce9' is not text .*\(character 3\)"),
}

WRONG = NO_COLLECTIONS | {f"of {name}": case for name, case in NO_TEXTS.items()}
