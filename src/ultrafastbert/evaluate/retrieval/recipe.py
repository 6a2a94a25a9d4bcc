"""Scoring saved models on retrieval, beside their original."""

from collections.abc import Iterable, Sequence
from pathlib import Path

from transformers import PreTrainedModel

from ultrafastbert.evaluate.retrieval.measure import load_sets, measure, unit_vectors
from ultrafastbert.evaluate.retrieval.task import RetrievalSet, Sources
from ultrafastbert.models.converted.folder import load_tokenizer
from ultrafastbert.models.io.saved import load_as_saved
from ultrafastbert.rows import append_rows
from ultrafastbert.rows.retrieval import RetrievalRow
from ultrafastbert.runs.status import Show, show_nothing

# What rows call the model in question, and its original.
MODEL, ORIGINAL = "fff", "teacher"


def evaluate_retrieval(
    folder: str | Path,
    sources: Sources,
    files: Iterable[str | Path] = (),
    original: str | Path | None = None,
    beside: Sequence[str | Path] = (),
    rows_path: str | Path | None = None,
    on_status: Show = show_nothing,
) -> list[RetrievalRow]:
    """Score a model on all retrieval tasks that the sources have; return the result rows.

    Vectors are means over tokens of the last hidden states, compared by their cosine.

    Args:
        folder: of the model.
        sources: where tasks find their texts.
        files: of users' own pairs, see `pair_file`.
        original: folder of the model that it was made from, whose vectors it is compared with.
        beside: folders of further models.
        rows_path: file that the rows are appended to; by default the model's `rows.jsonl`.
        on_status: told what is being done.

    Raises:
        FileNotFoundError, OSError: for files that are missing.
        ValueError: for files of other contents; the message names the line.
    """
    named = {ORIGINAL: original} if original is not None else {}
    named |= {MODEL: folder, **{Path(each).absolute().name: each for each in beside}}
    on_status("reading texts", 0, None)
    sets = load_sets(sources, [Path(file) for file in files])
    rows, of_original = [], None
    for name, path in named.items():
        on_status(f"encoding by {Path(path).absolute().name}", 0, None)
        model, tokenizer = load_as_saved(path).eval(), load_tokenizer(Path(path))
        vectors = unit_vectors(model, tokenizer, sets)
        of_original = vectors if name == ORIGINAL else of_original
        reference = None if name == ORIGINAL else of_original
        rows += [_row(name, model, each, measure(each, vectors, reference)) for each in sets]
    return append_rows(rows_path or Path(folder) / "rows.jsonl", rows)


def _row(
    name: str, model: PreTrainedModel, found: RetrievalSet, metrics: dict[str, float]
) -> RetrievalRow:
    ffn = getattr(model.config, "ffn", None)
    return RetrievalRow(
        task=found.task,
        model=name,
        ffn=tuple(ffn) if ffn else None,
        weight_dtype=getattr(model.config, "weight_dtype", None),
        n_queries=len(found.queries),
        n_passages=len(found.passages),
        metrics=metrics,
    )
