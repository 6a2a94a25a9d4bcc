"""Sentence embeddings with a model: by ONNX Runtime if it is exported, or sentence-transformers.

What needs PyTorch is imported where it is used: exported models do without.
"""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from ultrafastbert_runtime import Encoder
from ultrafastbert_runtime.folder import has_model
from ultrafastbert_runtime.pooling import unit
from ultrafastbert_runtime.texts import TextFile

from ultrafastbert.data.text_collections import checked_text, checked_texts, is_one_text
from ultrafastbert.inference.bundled import bundled_model
from ultrafastbert.runs import run_folder
from ultrafastbert.runs.status import Show, show_nothing

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer


INSTALL = 'pip install "ultrafastbert[sentence-transformers]"'
# Texts whose tokens are counted at once: enough work for all cores, little memory.
COUNTED_TEXTS = 10_000


class Embeddings(NamedTuple):
    """Vectors of n texts, (n, H) float32, or of a single one, (H), and how many texts were cut."""

    vectors: np.ndarray
    n_truncated: int


def open_encoder(
    folder: str | Path | None = None,
    pooling: str | None = None,
    normalize: bool | None = None,
    weight_dtype: str | None = None,
) -> "Encoder | SentenceTransformer":
    """Open an encoder: in ONNX Runtime if it is exported, in PyTorch otherwise.

    Arguments and errors as in `sentence_transformer`, which opens it if any of them but the folder
    is given: only PyTorch changes models.
    """
    folder = Path(bundled_model() if folder is None else folder)
    is_changed = (pooling, normalize, weight_dtype) != (None, None, None)
    if not has_model(folder):
        is_changed = True
    elif is_changed and not (folder / "model.safetensors").exists():
        raise ValueError(
            f"{folder} is exported: leave out pooling={pooling!r}, normalize={normalize!r} and "
            f"weight_dtype={weight_dtype!r}, or name the model that it was made of"
        )
    if not is_changed:
        return Encoder(folder)
    options = {"model_kwargs": {"weight_dtype": weight_dtype}} if weight_dtype else {}
    return sentence_transformer(folder, pooling, normalize, **options)


def sentence_transformer(
    folder: str | Path | None = None,
    pooling: str | None = None,
    normalize: bool | None = None,
    **options: Any,
) -> "SentenceTransformer":
    """Load a saved encoder, with or without a head, as a SentenceTransformer.

    Args:
        folder: a saved model and tokenizer, or a saved SentenceTransformer, which includes the
            pooling configuration; by default `ultrafastbert.bundled_model()`.
        pooling: such as `mean` or `cls`; by default as configured, or else `mean`.
        normalize: whether to scale vectors to length 1; by default as configured.
        **options: of SentenceTransformer, such as `device`, `truncate_dim`, or
            `model_kwargs={"weight_dtype": "int8"}`.

    Raises:
        ImportError: if sentence-transformers is not installed.
        OSError: if the folder has no model in safetensors.
        ValueError: for weights that are missing or do not fit, and for `pooling` or `normalize`
            with a folder that includes its pooling.
    """
    from ultrafastbert.inference.optimized.model import optimize_as_saved
    from ultrafastbert.models.io.saved import load_as_saved

    library = _library()
    folder = bundled_model() if folder is None else folder
    # sentence-transformers itself would draw missing weights at random, with a warning.
    load_as_saved(folder)
    model = library.SentenceTransformer(str(folder), **options)
    if not (Path(folder) / "modules.json").exists():
        _pool(model, folder, pooling, normalize)
    elif pooling is not None or normalize is not None:
        raise ValueError(
            f"pooling={pooling!r}, normalize={normalize!r}: {folder} has its own, in modules.json; "
            "leave them out"
        )
    return optimize_as_saved(model)


def _pool(
    model: "SentenceTransformer",
    folder: str | Path,
    pooling: str | None,
    normalize: bool | None,
) -> None:
    """Pool as the caller says, or else as configured."""
    from sentence_transformers.sentence_transformer.modules import Normalize, Pooling
    from transformers import AutoConfig

    config: Any = AutoConfig.from_pretrained(folder)
    mode: Any = pooling or getattr(config, "sentence_pooling", "mean")
    model[1] = Pooling(config.hidden_size, mode)
    if getattr(config, "normalize_embeddings", False) if normalize is None else normalize:
        model.append(Normalize())


def save_sentence_transformer(
    folder: str | Path,
    out_dir: str | Path,
    pooling: str | None = None,
    normalize: bool | None = None,
) -> Path:
    """Save an encoder as a folder that `SentenceTransformer(out_dir)` loads; return the folder.

    Arguments and errors as in `sentence_transformer`; FileExistsError if `out_dir` is not empty.
    """
    from ultrafastbert.models.io.card import write_card

    out_dir = Path(out_dir)
    with run_folder.new_folder(out_dir) as new:
        model = sentence_transformer(folder, pooling, normalize, device="cpu")
        model.save_pretrained(str(new), create_model_card=False)
        write_card(new)
    return out_dir


def encode(
    model: "SentenceTransformer | Encoder",
    texts: str | Iterable[str],
    batch_size: int = 32,
    show_progress_bar: bool = False,
    on_status: Show = show_nothing,
) -> Embeddings:
    """Return the vectors of texts; those longer than the model reads are cut and counted.

    Args:
        model: what `sentence_transformer` or `open_encoder` gives.
        texts: an ordered collection, such as a list, a generator, a numpy array or a column; or
            one text, which gets one vector. An empty text gets the vector of the special tokens.
        batch_size: texts per batch.
        show_progress_bar: whether to show the progress bar, which only sentence-transformers has.
        on_status: called with what is being done, how much is done, and of how much.

    Raises:
        ValueError: without texts, for items that are not texts (the message names their index),
            and for vectors that are not finite.
    """
    if batch_size < 1:
        raise ValueError(f"batch_size={batch_size} must be at least 1")
    is_one = is_one_text(texts)
    read = [checked_text(texts, "texts")] if is_one else list(checked_texts(texts, "texts"))
    if not read:
        raise ValueError("texts is empty: give at least one text to encode")
    if isinstance(model, Encoder):
        vectors, n_cut = _by_runtime(model, read, batch_size, on_status)
        return Embeddings(vectors[0] if is_one else vectors, n_cut)
    with _counted(model, len(read), on_status):
        vectors = model.encode(read, batch_size=batch_size, show_progress_bar=show_progress_bar)
    vectors = vectors.astype(np.float32)
    if not np.isfinite(vectors).all():
        raise ValueError("the model computes something that is not a number; check its weights")
    return Embeddings(vectors[0] if is_one else vectors, _n_cut(model, read, on_status))


def _by_runtime(
    model: Encoder, texts: list[str], batch_size: int, on_status: Show
) -> tuple[np.ndarray, int]:
    """Return the vectors of texts, and how many were cut."""
    windows = list(model.windows(texts, batch_size=batch_size, show=on_status))
    return np.concatenate([w.vectors for w in windows]), sum(w.n_truncated for w in windows)


@contextmanager
def _counted(model: "SentenceTransformer", n_texts: int, on_status: Show) -> Iterator[None]:
    """Report how many of `n_texts` texts the model has encoded."""
    done = 0

    def count(module: Any, arguments: Any, output: dict[str, Any]) -> None:
        nonlocal done
        done += len(output["sentence_embedding"])
        on_status("encoding texts", done, n_texts)

    on_status("encoding texts", 0, n_texts)
    with model.register_forward_hook(count):
        yield


def _n_cut(model: "SentenceTransformer", texts: list[str], on_status: Show) -> int:
    """Return how many texts have more tokens than the model reads."""
    n_cut, longest = 0, model.max_seq_length
    if longest is None:
        return 0
    for start in range(0, len(texts), COUNTED_TEXTS):
        on_status("counting the texts that were cut", start, len(texts))
        ids = model.tokenizer(texts[start : start + COUNTED_TEXTS], verbose=False)["input_ids"]
        n_cut += sum(len(tokens) > longest for tokens in ids)
    return n_cut


def cosines(vectors: np.ndarray) -> np.ndarray:
    """Return the cosine of each pair of vectors: (n, H) -> (n, n).

    Raises ValueError for vectors of another shape, such as the one of a single text.
    """
    if vectors.ndim != 2:
        raise ValueError(f"vectors of shape {vectors.shape} must be (n, H), of several texts")
    vectors = unit(vectors)
    return vectors @ vectors.T


def read_texts(path: str | Path) -> list[str]:
    """Return the lines of a file, each a text.

    Raises FileNotFoundError for a missing file, ValueError for one that is empty or not UTF-8.
    """
    return list(TextFile(path))


def _library() -> Any:
    """Import sentence-transformers, which only some users need."""
    try:
        import sentence_transformers
    except ModuleNotFoundError as error:
        if error.name != "sentence_transformers":
            raise
        raise ImportError(f"sentence-transformers is not installed; {INSTALL}") from error
    return sentence_transformers
