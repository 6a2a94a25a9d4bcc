"""Small dense encoders in folders, as sentence-transformers saves them, for tests of conversion."""

import json

import torch
from transformers import BertConfig, BertModel

README = """---
language: en
license: apache-2.0
---

# tiny-encoder

It reads little.
"""


def save_dense_encoder(tokenizer, folder):
    """Save a BERT of two layers, whose FF layers matter, with tokenizer, pooling and model card."""
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=len(tokenizer),
        hidden_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=32,
    )
    model = BertModel(config).eval()
    with torch.no_grad():  # weights of random models are tiny
        for layer in model.encoder.layer:
            layer.intermediate.dense.weight.mul_(20)
            layer.output.dense.weight.mul_(20)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    (folder / "README.md").write_text(README)
    kind = "sentence_transformers.models"
    modules = [
        {"idx": 0, "name": "0", "path": "", "type": f"{kind}.Transformer"},
        {"idx": 1, "name": "1", "path": "1_Pooling", "type": f"{kind}.Pooling"},
    ]
    (folder / "modules.json").write_text(json.dumps(modules))
    (folder / "1_Pooling").mkdir()
    pooling = {"word_embedding_dimension": 16, "pooling_mode_mean_tokens": True}
    (folder / "1_Pooling" / "config.json").write_text(json.dumps(pooling))
    return folder


def write_stsb(folder, sentences, n_rows=20):
    """Write made-up rows of STS-B into a folder of GLUE files; return the folder."""
    (folder / "stsb").mkdir(parents=True)
    for split in ("train", "validation"):
        pairs = zip(sentences[:n_rows], sentences[n_rows : 2 * n_rows], strict=True)
        rows = [
            {"sentence1": a, "sentence2": b, "label": i % 5.0} for i, (a, b) in enumerate(pairs)
        ]
        lines = "".join(json.dumps(row) + "\n" for row in rows)
        (folder / "stsb" / f"{split}.jsonl").write_text(lines)
    return folder
