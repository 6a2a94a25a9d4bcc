"""Retrieval measured: ranks of what belongs to queries, and vectors beside the original's."""

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import normalize
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from ultrafastbert.evaluate.metrics import Needs, metrics_for
from ultrafastbert.evaluate.retrieval import RETRIEVAL_TASKS
from ultrafastbert.evaluate.retrieval.pair_file import read_pairs
from ultrafastbert.evaluate.retrieval.task import RetrievalSet, Sources, retrieval_set
from ultrafastbert.evaluate.similarity import sentence_vectors

# Queries compared with all passages at once.
PART_QUERIES = 1024


def load_sets(sources: Sources, files: Iterable[Path] = ()) -> list[RetrievalSet]:
    """Return the texts of all tasks that the sources have, and of users' files of pairs.

    Raises as `read_pairs`, `load_split` and `retrieval_set`.
    """
    pairs = {name: task.pairs(sources) for name, task in RETRIEVAL_TASKS.items()}
    found = [retrieval_set(name, each) for name, each in pairs.items() if each is not None]
    return found + [retrieval_set(path.name, read_pairs(path)) for path in files]


def unit_vectors(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, sets: Iterable[RetrievalSet]
) -> dict[str, Tensor]:
    """Return the vectors, of length 1, of all texts of some sets, by text."""
    texts = list(dict.fromkeys(text for each in sets for text in each.texts))
    vectors = normalize(sentence_vectors(model, tokenizer, texts), dim=-1)
    return dict(zip(texts, vectors, strict=True))


def measure(
    found: RetrievalSet, vectors: Mapping[str, Tensor], original: Mapping[str, Tensor] | None
) -> dict[str, float]:
    """Return the metrics of a set: of ranks, and with the original's vectors of cosines to them."""
    numbers = ranks(found, vectors)
    values = {name: each.compute(numbers) for name, each in metrics_for(Needs.RANKS).items()}
    if original is not None:
        here, there = (torch.stack([each[t] for t in found.texts]) for each in (vectors, original))
        cosines = (here * there).sum(-1).numpy()
        metrics = metrics_for(Needs.COSINES).items()
        values |= {name: metric.compute(cosines) for name, metric in metrics}
    return values


def ranks(found: RetrievalSet, vectors: Mapping[str, Tensor]) -> np.ndarray:
    """Return for each query the rank, from 1, of the nearest passage that belongs to it: (queries).

    A passage that is as near counts as nearer: a model that gives all texts one vector finds none.
    """
    passages = torch.stack([vectors[text] for text in found.passages])  # (P, H)
    return np.array([rank for part in _parts(found, vectors, passages) for rank in part])


def _parts(
    found: RetrievalSet, vectors: Mapping[str, Tensor], passages: Tensor
) -> Iterator[Iterator[int]]:
    for start in range(0, len(found.queries), PART_QUERIES):
        part = range(start, min(len(found.queries), start + PART_QUERIES))
        queries = torch.stack([vectors[found.queries[query]] for query in part])
        nearness = queries @ passages.T  # (Q, P)
        yield (_rank(found, query, row) for query, row in zip(part, nearness, strict=True))


def _rank(found: RetrievalSet, query: int, nearness: Tensor) -> int:
    wanted = found.wanted[query]
    best = nearness[list(wanted)].max()
    others = nearness >= best
    others[list(wanted)] = False
    if (itself := found.excluded[query]) is not None:
        others[itself] = False
    return 1 + int(others.sum())
