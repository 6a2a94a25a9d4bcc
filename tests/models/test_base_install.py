"""The base install: models are built, run, saved and loaded without libraries of any extra."""

import subprocess
import sys

import pytest

WITHOUT = ("accelerate", "datasets", "matplotlib", "scipy", "sentence_transformers", "sklearn")
SCRIPT = """
import importlib, pkgutil, sys

sys.modules.update(dict.fromkeys({without}))  # a name that is None cannot be imported

import torch
import ultrafastbert
from ultrafastbert import data, inference, models
from ultrafastbert.data.tokenizer import train_tokenizer
from ultrafastbert.inference.fill_mask import fill_mask

for room in (data, models, inference):
    for module in pkgutil.walk_packages(room.__path__, room.__name__ + "."):
        importlib.import_module(module.name)

tokenizer = train_tokenizer(["the leaf of a tree is small"] * 9, 100)
sizes = dict(vocab_size=len(tokenizer), hidden_size=16, num_hidden_layers=1, num_attention_heads=2)
config = ultrafastbert.UltraFastBertConfig(tree_depth=2, **sizes)
model = ultrafastbert.UltraFastBertForMaskedLM(config)
ids = tokenizer("the leaf", return_tensors="pt").input_ids
model(ids, labels=ids).loss.backward()
model.save_pretrained({folder!r})
tokenizer.save_pretrained({folder!r})
print(len(fill_mask({folder!r}, "the [MASK] of a tree", top=3)[0]))
"""


@pytest.mark.slow
def test_models_need_no_extra(tmp_path):
    code = SCRIPT.format(without=WITHOUT, folder=str(tmp_path))
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (ran.stdout, ran.returncode) == ("3\n", 0), ran.stderr
