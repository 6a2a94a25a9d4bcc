"""How well sentence vectors rank pairs by similarity: Spearman's correlation on STS-B."""

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from datasets import Dataset
from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from ultrafastbert.data.text_collections import checked_texts
from ultrafastbert.evaluate.task_data import load_task
from ultrafastbert.evaluate.tasks import get_task, score
from ultrafastbert.models.bert.pooling import pool

BATCH_SENTENCES = 64
# Official rows of STS-B; the test split is scored where a folder has its labels.
STSB_ROWS = {"train": 5749, "validation": 1500, "test": 1379}


def similar_pairs(glue_dir: str | Path | None) -> dict[str, Dataset]:
    """Return the labelled splits of STS-B, or none at all without a folder."""
    if glue_dir is None:
        return {}
    splits = load_task(replace(get_task("stsb"), n_rows=STSB_ROWS), glue_dir)
    return {split: splits[split] for split in ("validation", "test") if split in splits}


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


def sts_spearman(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, pairs: Dataset
) -> float:
    """Return Spearman's correlation, in percent, of cosines with the scores of rows of STS-B."""
    spec = get_task("stsb")
    first, second = (
        sentence_vectors(model, tokenizer, pairs[column][:]) for column in spec.text_columns
    )
    cosine = torch.nn.functional.cosine_similarity(first, second)
    return score(spec, cosine.numpy(), np.array(pairs["label"]))["spearman"]
