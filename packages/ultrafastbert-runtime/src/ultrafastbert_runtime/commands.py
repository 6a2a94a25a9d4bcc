"""What the commands of `ultrafastbert-runtime` do."""

import io
import itertools
import sys
from argparse import Namespace
from collections.abc import Iterable, Sequence
from pathlib import Path

from ultrafastbert_runtime.classifier import Classifier
from ultrafastbert_runtime.encoder import Encoder
from ultrafastbert_runtime.fill_mask import FillMask
from ultrafastbert_runtime.model import Show
from ultrafastbert_runtime.progress import say, showing
from ultrafastbert_runtime.tables import SHOWN_CHARACTERS, cosine_table
from ultrafastbert_runtime.texts import TextFile, lines
from ultrafastbert_runtime.vectors import PRECISIONS, check_path, collecting

MOST_PRINTED = 20  # texts whose cosines fit a screen
STANDARD_INPUT = "-"


def encode(options: Namespace) -> None:
    """Save the vectors of texts, or print the cosines of a few."""
    _check_request(options)
    if options.texts and (Path(options.texts[0]) / "config.json").is_file():
        raise ValueError(f"{options.texts[0]} is the folder of a model: write --model before it")
    texts = _texts(options)
    if options.out is None:
        texts = _few(texts)
    else:
        check_path(options.out)
    with showing() as show:
        encoder = Encoder(options.model, threads=options.threads)
        message, n_truncated = _encode(encoder, texts, options, show)
    print(message, flush=True)
    if n_truncated:
        say(f"note: texts cut to {encoder.max_seq_length} tokens: {n_truncated:,}")


def classify(options: Namespace) -> None:
    """Print labels of texts, a line each."""
    _check_request(options)
    with showing() as show:
        classifier = Classifier(options.model, threads=options.threads)
        numbered = enumerate(_texts(options), start=1)
        while some := list(itertools.islice(numbered, 1000)):
            texts = [text for _, text in some]
            found = classifier(texts, options.top, token_budget=options.batch_tokens)
            for (number, text), labels in zip(some, found, strict=True):
                for label in labels:
                    shown = text[:SHOWN_CHARACTERS].replace("\t", " ")
                    print(number, label["label"], f"{label['score']:.4f}", shown, sep="\t")
            show("classifying texts", some[-1][0])
    sys.stdout.flush()


def fill_mask(options: Namespace) -> None:
    """Print the likeliest words for the masks of a text."""
    with showing():
        found = FillMask(options.model)(options.text, options.top)
    masks = [found] if isinstance(found[0], dict) else found
    for number, guesses in enumerate(masks, start=1):
        print(f"[MASK] {number}")
        for guess in guesses:
            print(f"  {guess['score']:6.1%}  {guess['token_str']}")
    sys.stdout.flush()


def _encode(
    encoder: Encoder, texts: Iterable[str], options: Namespace, show: Show
) -> tuple[str, int]:
    """Encode texts; return what to print, and how many texts were cut."""
    windows = encoder.windows(
        texts, token_budget=options.batch_tokens, normalize=options.normalize, show=show
    )
    n_truncated = 0
    dtype = PRECISIONS["float32"]
    with collecting(options.out, None, encoder.dimension, dtype) as rows:
        for vectors, n_cut in windows:
            rows.add(vectors)
            n_truncated += n_cut
    vectors = rows.all()
    if options.out is None:
        return cosine_table(list(texts), vectors), n_truncated
    return f"{options.out}: {len(vectors):,} vectors of {vectors.shape[1]}", n_truncated


def _check_request(options: Namespace) -> None:
    """Raise ValueError for options that contradict each other."""
    if bool(options.texts) == bool(options.file):
        raise ValueError("give either texts or --file")


def _texts(options: Namespace) -> Iterable[str]:
    if options.file:
        return TextFile(options.file)
    if options.texts == [STANDARD_INPUT]:
        file = io.TextIOWrapper(sys.stdin.buffer, encoding="utf-8", newline="\n")
        return lines(file, "standard input")
    return options.texts


def _few(texts: Iterable[str]) -> Sequence[str]:
    """Return texts that fit a table of cosines; ValueError if they do not."""
    few = list(itertools.islice(texts, MOST_PRINTED + 1))
    if not 2 <= len(few) <= MOST_PRINTED:
        number = f"more than {MOST_PRINTED}" if len(few) > MOST_PRINTED else str(len(few))
        raise ValueError(
            f"cosines are printed of 2 to {MOST_PRINTED} texts, not of {number}: give --out"
        )
    return few
