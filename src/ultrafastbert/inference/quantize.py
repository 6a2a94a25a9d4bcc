"""Quantize a saved model to less than half its size, and measure what that changes."""

import itertools
from pathlib import Path

import torch
from torch import Tensor

from ultrafastbert.data import docstrings
from ultrafastbert.imports.extras import require
from ultrafastbert.models.converted.folder import copy_companions, load_tokenizer
from ultrafastbert.models.io.saved import load_as_saved
from ultrafastbert.models.quantized import Quantizable
from ultrafastbert.rows import append_row
from ultrafastbert.rows.models import QuantizeRow
from ultrafastbert.runs import run_folder
from ultrafastbert.runs.status import Show, show_nothing

# What `convert` and its quickstart leave beside their model, apart from its rows.
NOT_COPIED = ("controls", "data", "figures", "work", "convert.json", "sweep.json", "report.*")
# Paragraphs whose vectors are compared.
N_TEXTS = 256
# Mean cosine of vectors before and after, below which the quantized model is not kept.
LEAST_COSINE = 0.99


def quantize_model(
    folder: str | Path,
    out_dir: str | Path,
    weight_dtype: str = "int8",
    glue_dir: str | Path | None = None,
    on_status: Show = show_nothing,
) -> QuantizeRow:
    """Write a quantized copy of a saved model to a new folder; return its result row.

    Weights of fast feedforward layers become `weight_dtype`, `int8` or `bfloat16`; such a model
    is for inference only. All other matrices are stored in bfloat16 and computed in float32.
    Sentence vectors of 256 paragraphs, from the documentation of Python's library, are compared
    before and after. With `glue_dir`, STS-B is scored before and after, too.
    The row is appended to the folder's `rows.jsonl`.

    Raises:
        FileExistsError: if `out_dir` is not empty.
        OSError: for files that are missing, and an `out_dir` that cannot be written to.
        ValueError: for a model without fast feedforward layers or with quantized ones, an unknown
            `weight_dtype`, and where vectors differ too much: nothing is kept then.
    """
    with run_folder.new_folder(Path(out_dir)) as new:
        return _quantize(Path(folder), new, weight_dtype, glue_dir, on_status)


def _quantize(
    folder: Path, new: Path, weight_dtype: str, glue_dir: str | Path | None, on_status: Show
) -> QuantizeRow:
    # Here, as it reads labelled rows by libraries of the extra `train`.
    require("datasets", "scipy")
    from ultrafastbert.evaluate.similarity import load_evaluations, scores, sentence_vectors

    evaluations = load_evaluations(glue_dir)
    on_status("loading the model", 0, None)
    original = _load(folder)
    if original.config.weight_dtype:
        raise ValueError(
            f"the weights in {folder} are {original.config.weight_dtype} already; quantize the "
            "original"
        )
    tokenizer, texts = (
        load_tokenizer(folder),
        list(itertools.islice(docstrings.library_paragraphs(), N_TEXTS)),
    )
    on_status("encoding texts before", 0, None)
    before = sentence_vectors(original, tokenizer, texts)
    on_status("scoring before", 0, None)
    scores_before = scores(original, tokenizer, evaluations)
    on_status(f"quantizing to {weight_dtype}, then encoding and scoring after", 0, None)
    copy_companions(folder, new, NOT_COPIED)
    _save(original, new, weight_dtype)
    small = _load(new)
    cosines = _cosines(before, sentence_vectors(small, tokenizer, texts), weight_dtype)
    row = QuantizeRow(
        weight_dtype=weight_dtype,
        bytes_before=_weight_bytes(folder),
        bytes=_weight_bytes(new),
        n_texts=len(texts),
        cosine_mean=float(cosines.mean()),
        cosine_min=float(cosines.min()),
        scores_before=scores_before,
        scores=scores(small, tokenizer, evaluations),
    )
    return append_row(new / "rows.jsonl", row)


def _load(folder: Path) -> Quantizable:
    """Load a model as it was saved; ValueError for a dense one."""
    model = load_as_saved(folder).eval()
    if not isinstance(model, Quantizable):
        raise ValueError(
            f"{folder} holds a model of class {type(model).__name__}, without fast feedforward "
            "layers; convert it first"
        )
    return model


def _save(model: Quantizable, folder: Path, weight_dtype: str) -> None:
    """Save a model with all matrices quantized or in bfloat16; biases and scales stay."""
    model.quantize_(weight_dtype)
    state = model.state_dict()
    stored: dict[int, Tensor] = {}  # by the memory they share: tied matrices stay tied
    for name, parameter in model.named_parameters(remove_duplicate=False):
        if parameter.dim() > 1:
            state[name] = stored.setdefault(parameter.data_ptr(), state[name].bfloat16())
    model.save_pretrained(folder, state_dict=state)


def _cosines(before: Tensor, after: Tensor, weight_dtype: str) -> Tensor:
    cosines = torch.nn.functional.cosine_similarity(before, after)
    if not cosines.mean() >= LEAST_COSINE:
        raise ValueError(
            f"weight_dtype={weight_dtype!r} changes sentence vectors too much: their mean cosine "
            f"before and after is {cosines.mean():.4f}, less than {LEAST_COSINE}; keep the "
            "original weights"
        )
    return cosines


def _weight_bytes(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.glob("*.safetensors"))
