"""`ultrafastbert encode`."""

import os
from pathlib import Path
from typing import Annotated

import numpy as np
import typer

from ultrafastbert.cli.options import NORMALIZE, POOLING, model_folder, typed_text
from ultrafastbert.cli.progress import showing
from ultrafastbert.cli.streams import echo, say
from ultrafastbert.runs.outputs import check_file, replacing

MOST_PRINTED = 20  # texts whose cosines fit a screen


def encode_command(
    texts: Annotated[list[str] | None, typer.Argument(help="Texts.")] = None,
    model: Annotated[
        Path | None,
        typer.Option(help="Folder of an encoder; default: the one that comes with this program."),
    ] = None,
    text_file: Annotated[Path | None, typer.Option(help="File with a text a line.")] = None,
    out: Annotated[
        Path | None, typer.Option(help="File for the vectors, a row each: .npy, float32.")
    ] = None,
    pooling: Annotated[str | None, typer.Option(help=POOLING)] = None,
    normalize: Annotated[bool | None, typer.Option(help=NORMALIZE)] = None,
    weight_dtype: Annotated[
        str | None, typer.Option(help="bfloat16 or int8: smaller feedforward weights.")
    ] = None,
    batch_size: Annotated[int, typer.Option(help="Texts that are computed at once.")] = 32,
) -> None:
    """Turn texts into vectors: save them, or print the cosines of a few.

    Without --model by all-MiniLM-L6-v2, an encoder of English, with fast
    feedforward layers: it comes with this program and needs no network.
    """
    from ultrafastbert.inference import encode

    if texts and os.path.exists(os.path.join(texts[0], "config.json")):
        raise ValueError(f"{texts[0]} is the folder of a model: write --model {texts[0]}")
    if bool(texts) == bool(text_file):
        raise ValueError("give either texts or --text-file")
    if out is not None and (out.suffix != ".npy" or not out.parent.is_dir()):
        raise ValueError(f"--out {out} must be a .npy file in a folder that exists")
    if out is not None:
        check_file(out)
    read = encode.read_texts(text_file) if text_file else [typed_text(t) for t in texts or ()]
    if out is None and not 2 <= len(read) <= MOST_PRINTED:
        raise ValueError(
            f"cosines are printed of 2 to {MOST_PRINTED} texts, not of {len(read):,}: give --out"
        )
    options = {"model_kwargs": {"weight_dtype": weight_dtype}} if weight_dtype else {}
    folder = None if model is None else model_folder(model)
    if out is None:
        encoder = encode.sentence_transformer(folder, pooling, normalize, **options)
        vectors, n_cut = encode.encode(encoder, read, batch_size)
        echo(_cosine_table(read, encode.cosines(vectors)))
    else:
        with showing(f"vectors: {out}") as show:
            show("loading the model")
            encoder = encode.sentence_transformer(folder, pooling, normalize, **options)
            vectors, n_cut = encode.encode(encoder, read, batch_size, on_status=show)
            with replacing(out) as file:
                np.save(file, vectors)
        echo(f"{out}: {len(vectors):,} vectors of {vectors.shape[1]}")
    if n_cut:
        say(f"note: texts cut to {encoder.max_seq_length} tokens: {n_cut:,}")


def _cosine_table(texts: list[str], cosines: np.ndarray) -> str:
    from ultrafastbert.report.tables import markdown_table

    numbers = [str(number) for number in range(1, len(texts) + 1)]
    lines = [
        [f"{number} {text[:40]}", *(f"{cosine:.3f}" for cosine in row)]
        for number, text, row in zip(numbers, texts, cosines, strict=True)
    ]
    return markdown_table(["cosine", *numbers], lines)
