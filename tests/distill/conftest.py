"""Fixtures of conversions: a dense encoder in a folder, text, labelled pairs, short timing."""

import copy
from functools import partial

import pytest
import torch
from encoders import write_stsb
from tiny_architectures import tiny_model

from ultrafastbert.bench import timing
from ultrafastbert.distill import conversion
from ultrafastbert.distill.equal_latency import time_equal_width


@pytest.fixture(scope="module")
def ids():
    return torch.randint(5, 250, (2, 7), generator=torch.Generator().manual_seed(0))


@pytest.fixture
def texts(documents):
    return [line for document in documents for line in document.split(". ")]


@pytest.fixture
def typed_tokenizer(tokenizer):
    """A tokenizer that gives token types, as BERT's does."""
    typed = copy.deepcopy(tokenizer)
    typed.model_input_names = [*tokenizer.model_input_names, "token_type_ids"]
    return typed


@pytest.fixture
def dense_folder(tokenizer, tmp_path):
    folder = tmp_path / "dense"
    model = tiny_model()
    with torch.no_grad():  # FF layers that matter: weights of random models are tiny
        for layer in model.encoder.layer:
            layer.intermediate.dense.weight.mul_(20)
            layer.output.dense.weight.mul_(20)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    (folder / "1_Pooling").mkdir()
    (folder / "1_Pooling" / "config.json").write_text('{"pooling_mode_mean_tokens": true}')
    (folder / "pytorch_model.bin").write_bytes(b"weights of the original")
    return folder


@pytest.fixture
def stsb(documents, tmp_path):
    sentences = [line for document in documents for line in document.split(". ")]
    return write_stsb(tmp_path / "glue", sentences)


@pytest.fixture(autouse=True)
def short_timing(monkeypatch):
    monkeypatch.setattr(timing, "TURN_SECONDS", 1e-3)
    short = partial(time_equal_width, seconds=0.0)
    monkeypatch.setattr(conversion, "time_equal_width", short)
