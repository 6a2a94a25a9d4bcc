"""Folders of published UltraFastBERT and crammedBERT models: reading and writing them.

Theirs hold `config.json` and `model.safetensors`, whole or in shards
(huggingface.co/pbelcak/UltraFastBERT-1x11-long).
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch
from safetensors.torch import save_file
from torch import Tensor

from ultrafastbert.models.io import crammed_config, crammed_tensors
from ultrafastbert.models.io.crammed_config import CLASSIFIER, MASKED_LM
from ultrafastbert.models.io.tensor_files import NAMES, read_tensors


class Checkpoint(NamedTuple):
    """A model in our terms: fields of `UltraFastBertConfig`, and a state dict."""

    fields: dict[str, Any]
    state: dict[str, Tensor]


def read(folder: Path, config: Mapping[str, Any], use_safetensors: bool = True) -> Checkpoint:
    """Read a folder whose `config.json` is given; see `tensor_files.read_tensors` for pickles.

    Raises FileNotFoundError for missing files, ValueError for damaged ones, for options that our
    models do not have, and for tensors that do not fit; messages name them.
    """
    fields = crammed_config.to_fields(config)
    tensors = read_tensors(folder, use_safetensors)
    kind = crammed_tensors.kind_of(config, set(tensors))
    fields["architectures"] = [crammed_config.ARCHITECTURES[kind]]
    if kind == CLASSIFIER and "id2label" not in fields:
        # Their versions differ in where they write the number of labels; the file has it.
        head = tensors.get("head.weight")
        fields["num_labels"] = head.shape[0] if head is not None and head.dim() == 2 else 2
    state = crammed_tensors.to_ours(tensors, fields, kind, _dtype(config))
    return Checkpoint(fields, state)


def write(folder: Path, fields: Mapping[str, Any], state: Mapping[str, Tensor]) -> None:
    """Write a model in their format into an existing folder: `config.json`, `model.safetensors`.

    Raises ValueError for a model that their software cannot hold.
    """
    config = crammed_config.to_config(fields)
    kind = config["architectures"][0]
    tensors = crammed_tensors.to_theirs(state, fields, kind)
    if kind == MASKED_LM:  # theirs holds the tied matrix twice
        tensors["decoder.weight"] = tensors["encoder.embedding.word_embedding.weight"].clone()
    tensors |= crammed_tensors.constants(fields, kind)
    tensors = {name: tensor.detach().float().contiguous() for name, tensor in tensors.items()}
    save_file(tensors, folder / NAMES[True], metadata={"format": "pt"})
    text = json.dumps(config, indent=2, sort_keys=True) + "\n"
    (folder / "config.json").write_text(text, encoding="utf-8")


def _dtype(config: Mapping[str, Any]) -> torch.dtype | None:
    """Return the dtype that a config declares for its file; None if it declares none."""
    name = config.get("dtype", config.get("torch_dtype"))
    if name is None:
        return None
    dtype = getattr(torch, name, None) if isinstance(name, str) else None
    if dtype not in crammed_tensors.FLOATS:
        known = ", ".join(str(d).removeprefix("torch.") for d in crammed_tensors.FLOATS)
        raise ValueError(f"config.json: torch_dtype={name!r} is not supported, only {known}")
    return dtype
