import gc
import importlib
import sys
from pathlib import Path

import pytest

from ultrafastbert.data.docstrings import (
    DEFAULT_LIBRARIES,
    HELD_OUT_EVERY,
    LibraryText,
    clean_paragraphs,
    harvest,
    is_held_out,
    word_counts,
)

NUMPYDOC = """Return the sum of the elements over
    a given axis of the array.

    Parameters
    ----------
    axis : int or tuple of int, optional
        Axis or axes along which the sum is taken by
        the function when it is called.
    out, where : ndarray
        Short.

    Returns
    -------
    total : float
        The sum, as :class:`~numpy.ndarray` or as a ``float`` for a *flat* array [1]_.

    Notes
    -----
    This uses the algorithm of `Kahan <https://example.org>`_ and it is slow::

        total = sum(the_elements_of_this_array_in_the_order_of_the_memory)
        return the value of the function to the caller of this method.

    .. note:: The result is not exact for numbers
        that differ by many orders of magnitude.

    .. math:: the value of a formula is not a sentence in any of the languages.

    .. versionadded:: 1.7
        The option was added in this version of the package for the users of it.

    Examples
    --------
    >>> print("the value of this is that it is not a part of the text.")
    the value of this is that it is not a part of the text.

    A last paragraph of the text, with words from which no one learns.
    """

GOOGLE = """Apply the function to all of the elements of a list.

    Args:
        values (list of int): The values to which the function
            is applied in the order of the list.
        n (int): Short.

    * The first item of a list of things that are said here.
    * The second item of a list of things, which goes on
      in a second line of the text.

    ```python
    this is a block of code and it is not a part of the text at all.
    ```

    |The table | of the things | that are in it and that are not for us.|
    """


def test_numpydoc():
    assert clean_paragraphs(NUMPYDOC) == [
        "Return the sum of the elements over a given axis of the array.",
        "Axis or axes along which the sum is taken by the function when it is called.",
        "The sum, as numpy.ndarray or as a float for a flat array.",
        "This uses the algorithm of Kahan and it is slow:",
        "The result is not exact for numbers that differ by many orders of magnitude.",
        "A last paragraph of the text, with words from which no one learns.",
    ]


def test_google_style_lists_fences_and_tables():
    assert clean_paragraphs(GOOGLE) == [
        "Apply the function to all of the elements of a list.",
        "The values to which the function is applied in the order of the list.",
        "The first item of a list of things that are said here.",
        "The second item of a list of things, which goes on in a second line of the text.",
    ]


@pytest.mark.parametrize(
    "text",
    [
        "",
        "Too short to keep.",
        "The words of this line have no end and are not a sentence",
        "x_1 = f(a, b) + 2 * c_d - 17 is the value of y_2 / z_3 at 0.5.",
        "The path \\alpha of the text is not for us, as it is not prose.",
        "The text of this has a lone \ud800 surrogate and it is not for us.",
    ],
)
def test_what_is_not_prose(text):
    assert clean_paragraphs(text) == []


# Pretraining texts and tasks made by different versions must agree on these.
HELD_OUT = [3, 5, 8, 23, 26, 30, 34, 39]

SENTENCE = "This is the {} sentence of the text that is kept."


@pytest.fixture
def library(tmp_path, monkeypatch):
    root = tmp_path / "fakelib"
    files = {
        "__init__.py": f'"""{SENTENCE.format("first")}"""\nraise SystemExit("imported")\n',
        "inner/b.py": f'class A:\n    def f(self):\n        """{SENTENCE.format("second")}"""\n',
        "inner/a.py": f'add_docstr(abs, """{SENTENCE.format("third")}""")\nx = """short"""\n',
        "again.py": f'"""{SENTENCE.format("first")}"""\n',
        "escape.py": f'"""{SENTENCE.format("fourth")} The \\d is bad and not for us."""\n',
        "broken.py": f'"""{SENTENCE.format("lost")}"""\ndef (:\n',
        "latin.py": f'# coding: latin-1\n"""{SENTENCE.format("café")}"""\n'.encode("latin-1"),
        "bad_encoding.py": b'"""caf\xe9 ' + SENTENCE.encode() + b'"""\n',
        "zero.py": b'"""' + SENTENCE.encode() + b'"""\n\0',
        "tests/test_a.py": f'"""{SENTENCE.format("tested")}"""\n',
        "code.py": f'"""{SENTENCE.format("little")}"""\n' + "x = 1\n" * 200,
        "empty.py": "",
    }
    for name, content in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
    (root / "dangling.py").symlink_to(root / "nowhere.py")
    monkeypatch.syspath_prepend(tmp_path)
    importlib.invalidate_caches()
    return root


def test_harvest_of_a_library(library: Path):
    progress = []
    texts = list(harvest(["no_such_library", "fakelib"], lambda *call: progress.append(call)))
    assert [(text.module, text.text) for text in texts] == [
        ("__init__.py", SENTENCE.format("first")),
        ("inner/a.py", SENTENCE.format("third")),
        ("inner/b.py", SENTENCE.format("second")),
        ("latin.py", SENTENCE.format("café")),
    ]
    assert progress == [("fakelib", 11)]
    assert "fakelib" not in sys.modules
    assert gc.isenabled()
    assert word_counts(texts) == {"fakelib": 44}


def test_no_library():
    with pytest.raises(ValueError, match="none of the libraries is installed: no_such_library"):
        next(harvest(["no_such_library"]))


def test_installed_libraries_give_prose_in_a_fixed_order():
    texts = list(harvest(["joblib", "fsspec"]))
    assert texts == list(harvest(["joblib", "fsspec"]))
    assert min(word_counts(texts).values()) > 3000
    paragraphs = [p for text in texts for p in text.text.split("\n")]
    assert len(paragraphs) == len(set(paragraphs))
    assert not any(">>>" in p or "::" in p or p.startswith(" ") for p in paragraphs)


def test_held_out_files_are_a_fixed_eighth():
    texts = [LibraryText("lib", f"module_{i}.py", "text") for i in range(4000)]
    share = sum(map(is_held_out, texts)) / len(texts)
    assert abs(share - 1 / HELD_OUT_EVERY) < 0.02
    assert [i for i in range(40) if is_held_out(texts[i])] == HELD_OUT
    assert len(set(DEFAULT_LIBRARIES)) == len(DEFAULT_LIBRARIES)
