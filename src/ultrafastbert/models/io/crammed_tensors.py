"""The tensors of published UltraFastBERT and crammedBERT models, from and to ours.

Every tensor of theirs is one of ours under another name, and in some the elements lie in another
order: queries, keys and values are grouped by head, and all trees lie one after another. The
functions are linear, so they serve for gradients as well as for weights.

Sizes: H hidden, A heads, h = H / A, K trees, R rows (neurons) of a tree, O = H output.
"""

from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ultrafastbert.fff import tree
from ultrafastbert.models.io.crammed_config import CLASSIFIER, ENCODER, MASKED_LM, architecture
from ultrafastbert.models.io.tensor_files import some_names

WORDS = "embedding.word_embedding.weight"
DECODER = "decoder.weight"
SCORE_FACTOR = "attn.self_attention.norm_factor"
FLOATS = (torch.float32, torch.float64, torch.bfloat16, torch.float16)


class Entry(NamedTuple):
    """One tensor: its name there and here, its shape there, and how its elements move."""

    theirs: str
    ours: str
    shape: tuple[int, ...]
    to_ours: Callable[[Tensor], Tensor] = torch.Tensor.contiguous
    to_theirs: Callable[[Tensor], Tensor] = torch.Tensor.contiguous


def to_ours(
    tensors: Mapping[str, Tensor],
    fields: Mapping[str, Any],
    kind: str,
    dtype: torch.dtype | None = None,
) -> dict[str, Tensor]:
    """Return our state dict of a checkpoint, in float32.

    Args:
        tensors: theirs, by name.
        fields: those of `UltraFastBertConfig`, from `crammed_config.to_fields`.
        kind: the model's class, one of `crammed_config.ARCHITECTURES`.
        dtype: what all tensors must have; by default that of the word embedding.

    Raises:
        ValueError: for tensors that are missing, not known, of another shape or dtype, not finite,
            or contradict each other; the message names them.
    """
    _check_layers(tensors, fields)
    table = list(entries(fields, kind))
    factors = constants(fields, kind)
    _check_names(set(tensors), {entry.theirs for entry in table} | set(factors), kind)
    shapes = {entry.theirs: entry.shape for entry in table} | dict.fromkeys(factors, ())
    words = f"{_prefix(kind)}{WORDS}"
    if DECODER in tensors:
        shapes[DECODER] = shapes[words]
    for name, shape in shapes.items():
        _check_tensor(name, tensors[name], shape, dtype or tensors[words].dtype)
    if DECODER in tensors and not torch.equal(tensors[DECODER], tensors[words]):
        raise ValueError(f"{DECODER} and {words} differ, but are one tensor in these models")
    state = {entry.ours: entry.to_ours(tensors[entry.theirs].float()) for entry in table}
    for name, usual in factors.items():
        _fold_score_factor(state, name, (tensors[name].float() / usual).item(), fields)
    return state


def to_theirs(
    state: Mapping[str, Tensor], fields: Mapping[str, Any], kind: str
) -> dict[str, Tensor]:
    """Return their tensors for ours, by name, without constants and tied copies.

    What `state` lacks is left out, so it may hold the gradients of some parameters.
    """
    found = (entry for entry in entries(fields, kind) if entry.ours in state)
    return {entry.theirs: entry.to_theirs(state[entry.ours]) for entry in found}


def constants(fields: Mapping[str, Any], kind: str) -> dict[str, Tensor]:
    """Return the tensors of their files that follow from the sizes: the factor of the scores."""
    head_size = fields["hidden_size"] // fields["num_attention_heads"]
    factor = torch.tensor(head_size**-0.5, dtype=torch.float32)
    return {
        f"{_layer(i, kind)}{SCORE_FACTOR}": factor.clone()
        for i in range(fields["num_hidden_layers"])
    }


def entries(fields: Mapping[str, Any], kind: str) -> Iterator[Entry]:
    """Return the tensors of a model of a kind, without constants and tied copies."""
    size, ours = fields["hidden_size"], "" if kind == ENCODER else "model."
    theirs = _prefix(kind)
    yield Entry(
        f"{theirs}{WORDS}",
        f"{ours}embeddings.word_embeddings.weight",
        (fields["vocab_size"], size),
    )
    yield Entry(
        f"{theirs}embedding.pos_embedding.scale_factor", f"{ours}embeddings.position_scale", (1,)
    )
    yield from _norm(f"{theirs}embedding.norm", f"{ours}embeddings.norm", size)
    for i in range(fields["num_hidden_layers"]):
        yield from _layer_entries(fields, f"{theirs}layers.{i}", f"{ours}layers.{i}")
    yield from _norm(f"{theirs}final_norm", f"{ours}final_norm", size)
    yield from _head_entries(fields, kind)


def kind_of(config: Mapping[str, Any], names: set[str]) -> str:
    """Return the class of a checkpoint: what its config says, else what its tensors look like."""
    named = architecture(config)
    if named is not None:
        return named
    if "head.weight" in names:
        return CLASSIFIER
    return MASKED_LM if any(name.startswith("encoder.") for name in names) else ENCODER


def n_labels(fields: Mapping[str, Any]) -> int:
    """Return the width of a classification head."""
    return len(fields["id2label"]) if fields.get("id2label") else fields.get("num_labels", 2)


def _prefix(kind: str) -> str:
    return "" if kind == ENCODER else "encoder."


def _layer(i: int, kind: str) -> str:
    return f"{_prefix(kind)}layers.{i}."


def _head_entries(fields: Mapping[str, Any], kind: str) -> Iterator[Entry]:
    size, middle = fields["hidden_size"], fields["classifier_hidden_size"]
    if kind == MASKED_LM:
        if fields["head_transform"]:
            bias = fields["use_bias"]
            yield from _linear("prediction_head.dense", "transform.dense", size, size, bias)
            yield from _norm("prediction_head.norm", "transform.norm", size)
        if fields["decoder_bias"]:
            yield Entry("decoder.bias", "decoder.bias", (fields["vocab_size"],))
    elif kind == CLASSIFIER:
        if middle is not None:
            yield from _linear("pooler.dense", "pooler", middle, size, True)
        yield from _linear("head", "classifier", n_labels(fields), middle or size, True)


def _layer_entries(fields: Mapping[str, Any], theirs: str, ours: str) -> Iterator[Entry]:
    size, heads = fields["hidden_size"], fields["num_attention_heads"]
    yield from _norm(f"{theirs}.norm1", f"{ours}.attention_norm", size)
    yield from _norm(f"{theirs}.norm2", f"{ours}.ffn_norm", size)
    for part in ("weight", "bias") if fields["qkv_bias"] else ("weight",):
        yield Entry(
            f"{theirs}.attn.self_attention.query_key_value.{part}",
            f"{ours}.attention.qkv.{part}",
            (3 * size, size) if part == "weight" else (3 * size,),
            lambda t: _swap(t, heads, 3),
            lambda t: _swap(t, 3, heads),
        )
    bias = fields["use_bias"]
    yield from _linear(f"{theirs}.attn.dense", f"{ours}.attention.dense", size, size, bias)
    if fields["ffn_type"] == "fff":
        yield from _tree_entries(fields, f"{theirs}.ffn", f"{ours}.ffn")
    else:
        width = fields["intermediate_size"]
        inner = width // 2 if fields["ffn_type"] == "glu" else width
        for part, out_size, in_size in (("dense_in", width, size), ("dense_out", size, inner)):
            yield from _linear(
                f"{theirs}.ffn.{part}", f"{ours}.ffn.{part}", out_size, in_size, bias
            )


def _tree_entries(fields: Mapping[str, Any], theirs: str, ours: str) -> Iterator[Entry]:
    """Nodes of all trees lie one after another, each tree in heap order, as ours with L = 1."""
    size, trees = fields["hidden_size"], fields["n_trees"]
    rows = tree.n_rows(fields["tree_depth"], 1)
    yield Entry(
        f"{theirs}.linear_in.weight",
        f"{ours}.w_in",
        (trees * rows, size),
        lambda t: t.reshape(trees, rows, size),
        lambda t: t.reshape(trees * rows, size),
    )
    yield Entry(
        f"{theirs}.linear_in.bias",
        f"{ours}.b_in",
        (trees * rows,),
        lambda t: t.reshape(trees, rows),
        lambda t: t.reshape(trees * rows),
    )
    yield Entry(
        f"{theirs}.linear_out.weight",
        f"{ours}.w_out",
        (size, trees * rows),
        lambda t: t.t().reshape(trees, rows, size).contiguous(),
        lambda t: t.reshape(trees * rows, size).t().contiguous(),
    )


def _norm(theirs: str, ours: str, size: int) -> Iterator[Entry]:
    for part in ("weight", "bias"):
        yield Entry(f"{theirs}.{part}", f"{ours}.{part}", (size,))


def _linear(theirs: str, ours: str, out_size: int, in_size: int, bias: bool) -> Iterator[Entry]:
    yield Entry(f"{theirs}.weight", f"{ours}.weight", (out_size, in_size))
    if bias:
        yield Entry(f"{theirs}.bias", f"{ours}.bias", (out_size,))


def _swap(tensor: Tensor, outer: int, inner: int) -> Tensor:
    """Swap two groupings of the first dimension: (A * 3 * h, ...) <-> (3 * A * h, ...)."""
    grouped = tensor.unflatten(0, (outer, inner, -1))
    return grouped.transpose(0, 1).flatten(0, 2).contiguous()


def _fold_score_factor(
    state: dict[str, Tensor], name: str, ratio: float, fields: Mapping[str, Any]
) -> None:
    """Scale the queries where the stored factor of the scores is not the h^-1/2 of our models.

    It is so in a file of lower precision, where the factor was rounded.
    """
    if ratio == 1.0:
        return
    layer = name.removesuffix(SCORE_FACTOR).removeprefix("encoder.")
    for ours in (f"{layer}attention.qkv.weight", f"{layer}attention.qkv.bias"):
        for full in (ours, f"model.{ours}"):
            if full in state:
                state[full][: fields["hidden_size"]] *= ratio


def _check_layers(tensors: Mapping[str, Tensor], fields: Mapping[str, Any]) -> None:
    """Count the layers first: what follows takes time and memory for as many as the config says."""
    parts = [name.removeprefix("encoder.").split(".") for name in tensors]
    held = {part[1] for part in parts if part[0] == "layers" and len(part) > 1}
    if len(held) != fields["num_hidden_layers"]:
        raise ValueError(
            f"the checkpoint has tensors of {len(held)} layers, but its config.json says "
            f"num_transformer_layers={fields['num_hidden_layers']}"
        )


def _check_names(found: set[str], wanted: set[str], kind: str) -> None:
    missing = wanted - found
    # A copy of the word embedding, which their plain `save_pretrained` leaves out.
    extra = found - wanted - ({DECODER} if kind == MASKED_LM else set())
    if missing:
        raise ValueError(f"the checkpoint lacks {some_names(missing)}")
    if extra:
        raise ValueError(
            f"the checkpoint has tensors that its config.json does not explain: {some_names(extra)}"
        )


def _check_tensor(name: str, tensor: Tensor, shape: tuple[int, ...], dtype: torch.dtype) -> None:
    if tensor.dtype not in FLOATS:
        raise ValueError(
            f"{name} has dtype {tensor.dtype}; it must be float32, float64, bfloat16 or float16"
        )
    if tensor.dtype != dtype:
        raise ValueError(f"{name} has dtype {tensor.dtype}, but the checkpoint is one of {dtype}")
    if tuple(tensor.shape) != shape:
        raise ValueError(
            f"{name} has shape {tuple(tensor.shape)}, but its config.json means {shape}"
        )
    if not tensor.isfinite().all():
        raise ValueError(f"{name} has values that are not finite (NaN or infinite)")
