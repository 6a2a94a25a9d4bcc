"""`ultrafastbert encode`."""

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ultrafastbert.cli.options import Normalize, Pooling, model_folder, typed_text
from ultrafastbert.cli.progress import showing
from ultrafastbert.cli.streams import echo, say

if TYPE_CHECKING:
    import numpy as np

MOST_PRINTED = 20  # texts whose cosines fit a screen


def encode_command(
    texts: Annotated[list[str] | None, typer.Argument(help="Texts to compare.")] = None,
    model: Annotated[
        Path | None,
        typer.Option(help="Folder of an encoder; default: the bundled all-MiniLM-L6-v2."),
    ] = None,
    text_file: Annotated[
        Path | None, typer.Option(help="File with one text per line, in the place of TEXTS.")
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(help="Save the vectors, one row per text: .npy, float32."),
    ] = None,
    pooling: Pooling = None,
    normalize: Normalize = None,
    weight_dtype: Annotated[
        str | None,
        typer.Option(help="int8 or bfloat16: smaller, faster FF weights, slightly other vectors."),
    ] = None,
    batch_size: Annotated[
        int, typer.Option(help="Texts per forward pass; less needs less memory.")
    ] = 32,
) -> None:
    """Turn texts into vectors: save them, or print the cosines of a few.

    The default model is all-MiniLM-L6-v2 (English) with fast feedforward
    layers, from the package ultrafastbert-minilm. It needs no network.

    A folder with model.onnx runs in ONNX Runtime, without PyTorch; other
    folders, and any model with --pooling, --normalize or --weight-dtype, run
    in PyTorch.
    """
    _check_request(texts, text_file, out)
    folder = None if model is None else model_folder(model)
    with showing(f"vectors: {out}") if out else showing(answers=True) as show:
        show("loading the library")
        from ultrafastbert.inference import encode

        read = encode.read_texts(text_file) if text_file else [typed_text(t) for t in texts or ()]
        _check_number(len(read), out)
        show("loading the model")
        encoder = encode.open_encoder(folder, pooling, normalize, weight_dtype)
        vectors, n_cut = encode.encode(encoder, read, batch_size, on_status=show)
        if out is not None:
            _save(vectors, out)
    echo(_saved(vectors, out) if out else _table(read, vectors))
    if n_cut:
        say(f"note: texts cut to {encoder.max_seq_length} tokens: {n_cut:,}")


def _check_request(texts: list[str] | None, text_file: Path | None, out: Path | None) -> None:
    """Raise ValueError for options that contradict each other, OSError for a file of no use."""
    from ultrafastbert.runs.outputs import check_file

    if texts and os.path.exists(os.path.join(texts[0], "config.json")):
        raise ValueError(f"{texts[0]} is the folder of a model: write --model {texts[0]}")
    if bool(texts) == bool(text_file):
        raise ValueError("give either texts or --text-file")
    if out is None:
        return
    if out.suffix != ".npy" or not out.parent.is_dir():
        raise ValueError(f"--out {out} must be a .npy file in a folder that exists")
    check_file(out)


def _check_number(n_texts: int, out: Path | None) -> None:
    if out is None and not 2 <= n_texts <= MOST_PRINTED:
        raise ValueError(
            f"cosines are printed of 2 to {MOST_PRINTED} texts, not of {n_texts:,}: give --out"
        )


def _save(vectors: "np.ndarray", out: Path) -> None:
    import numpy as np

    from ultrafastbert.runs.outputs import replacing

    with replacing(out) as file:
        np.save(file, vectors)


def _saved(vectors: "np.ndarray", out: Path) -> str:
    return f"{out}: {len(vectors):,} vectors of {vectors.shape[1]}"


def _table(texts: list[str], vectors: "np.ndarray") -> str:
    from ultrafastbert_runtime.tables import cosine_table

    return cosine_table(texts, vectors)
