"""Fixtures of fine-tuning: data of all tasks and a tiny model."""

import pytest
import torch
from labelled_rows import N_TRAIN, N_VALIDATION, examples, write

from ultrafastbert import UltraFastBertConfig, UltraFastBertForMaskedLM
from ultrafastbert.train.finetune import (
    TASKS,
)


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory):
    """All nine tasks, one split plain and the others zipped."""
    folder = tmp_path_factory.mktemp("glue")
    for name, spec in TASKS.items():
        for split in spec.n_rows:
            suffix = ".jsonl" if name == "rte" else ".jsonl.gz"
            n = N_TRAIN if split == "train" else N_VALIDATION
            write(folder / name / (split + suffix), examples(spec, n))
    return folder


@pytest.fixture(scope="module")
def model_dir(tmp_path_factory, tokenizer):
    folder = tmp_path_factory.mktemp("tiny-model")
    config = UltraFastBertConfig(
        vocab_size=len(tokenizer),
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        tree_depth=3,
        classifier_hidden_size=16,
        hidden_dropout_prob=0.0,
        attention_probs_dropout_prob=0.0,
    )
    torch.manual_seed(0)
    UltraFastBertForMaskedLM(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder
