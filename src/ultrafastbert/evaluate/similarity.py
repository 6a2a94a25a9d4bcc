"""How well sentence vectors rank pairs by similarity, on the tasks of `pair_tasks`."""

from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from datasets import Dataset
from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from ultrafastbert.data.text_collections import checked_texts
from ultrafastbert.evaluate.pair_tasks import PAIR_TASKS, SentencePairTask
from ultrafastbert.evaluate.task_data import load_task
from ultrafastbert.evaluate.tasks import score
from ultrafastbert.models.bert.pooling import pool
from ultrafastbert.rows.row import Score

BATCH_SENTENCES = 64


class Evaluation(NamedTuple):
    """One split of a sentence pair task with its rows."""

    task: SentencePairTask
    split: str
    pairs: Dataset

    @property
    def name(self) -> str:
        """Task and split, such as `stsb validation`."""
        return f"{self.task.spec.name} {self.split}"

    def score(self, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> float:
        """Return the score of a model: how well cosines fit the ratings."""
        spec = self.task.spec
        first, second = (
            sentence_vectors(model, tokenizer, self.pairs[column][:])
            for column in spec.text_columns
        )
        cosine = torch.nn.functional.cosine_similarity(first, second)
        return score(spec, cosine.numpy(), np.array(self.pairs["label"]))[self.task.metric]


def load_evaluations(data_dir: str | Path | None) -> list[Evaluation]:
    """Return the labelled splits of all tasks that a folder has, or none without a folder.

    Raises ValueError where the folder has none of the tasks, and as `load_task`.
    """
    if data_dir is None:
        return []
    there = [task for task in PAIR_TASKS if (Path(data_dir) / task.spec.name).is_dir()]
    found = []
    for task in there or PAIR_TASKS[:1]:  # the error names the first folder that is missing
        splits = load_task(task.spec, data_dir)
        found += [Evaluation(task, s, splits[s]) for s in task.splits if s in splits]
    return found


def scores(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    evaluations: Iterable[Evaluation],
) -> tuple[Score, ...]:
    """Return a model's scores, for a result row."""
    return tuple(
        Score(each.task.spec.name, each.split, each.task.metric, each.score(model, tokenizer))
        for each in evaluations
    )


def sentence_vectors(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, sentences: Iterable[str]
) -> Tensor:
    """Return the mean of the last hidden states of each sentence: (sentences, H).

    Raises ValueError for what is no collection of texts.
    """
    sentences = list(checked_texts(sentences, "sentences"))
    order = sorted(range(len(sentences)), key=lambda i: len(sentences[i]))
    vectors = torch.empty(len(sentences), model.config.hidden_size, dtype=torch.float32)
    for start in range(0, len(order), BATCH_SENTENCES):
        part = order[start : start + BATCH_SENTENCES]
        batch = tokenizer(
            [sentences[i] for i in part], padding=True, truncation=True, return_tensors="pt"
        )
        with torch.no_grad():
            hidden = model.base_model(**batch).last_hidden_state  # (B, S, H)
        vectors[part] = pool(hidden, batch["attention_mask"], "mean")
    return vectors
