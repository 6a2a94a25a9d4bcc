"""Which leaf of every tree each token of a text reaches, in models with fast feedforward layers."""

from collections.abc import Iterable
from typing import NamedTuple

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from ultrafastbert.data.sampling import Text
from ultrafastbert.data.text_batches import batches_of
from ultrafastbert.fff.layer import FastFeedForward
from ultrafastbert.models.bert.configuration import UltraFastBertConfig
from ultrafastbert.models.converted.architectures import layers_of, location_of
from ultrafastbert.models.converted.hooks import hooked
from ultrafastbert.runs.status import Count, count_nothing


class Visits(NamedTuple):
    """Tokens and where they went.

    Attributes:
        ids, positions: of the tokens, in the vocabulary and in their text; (T) int64 each.
        leaves: by layer id, the leaf that each token reaches in each tree, (T, K) int64.
    """

    ids: Tensor
    positions: Tensor
    leaves: dict[int, Tensor]


def trees_of(model: PreTrainedModel) -> dict[int, FastFeedForward]:
    """Return the fast feedforward layers of depth 1 or more, by layer id."""
    return {
        layer_id: module
        for layer_id, layer in enumerate(_layers(model))
        for module in layer.modules()
        if isinstance(module, FastFeedForward) and module.depth
    }


def _layers(model: PreTrainedModel) -> nn.ModuleList | nn.Sequential:
    if isinstance(model.config, UltraFastBertConfig):
        return model.base_model.get_submodule("layers")  # type: ignore[return-value]
    return layers_of(model, location_of(model, getattr(model.config, "ffn_block", None)))


@torch.no_grad()
def visits(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    texts: Iterable[Text],
    n_tokens: int,
    max_length: int = 128,
    on_tokens: Count = count_nothing,
) -> Visits:
    """Run a model over texts until so many tokens passed; padding is left out.

    A token counts as often as it is run, where layers share their FF layer.

    Raises ValueError if the texts have fewer tokens.
    """
    trees, n_read = trees_of(model), 0
    parts: list[Visits] = []
    modules = {layer_id: (layer,) for layer_id, layer in trees.items()}
    for batch in batches_of(tokenizer, texts, max_length):
        mask = batch["attention_mask"]
        with hooked(modules, mask, "fast feedforward layer") as hooks:
            model.base_model(**batch)
        leaves = {n: trees[n].visited_leaves(hook.captured().x) for n, hook in hooks.items()}
        keep, n_seen = mask.bool(), len(next(iter(leaves.values())))  # (B, S)
        n_runs = n_seen // int(keep.sum())  # more than one where layers share their FF layer
        ids, positions = batch["input_ids"][keep], (mask.cumsum(1) - 1)[keep]
        parts.append(Visits(ids.repeat(n_runs), positions.repeat(n_runs), leaves))
        n_read = min(n_tokens, n_read + n_seen)
        on_tokens(n_read)
        if n_read == n_tokens:
            return _joined(parts, n_tokens)
    raise ValueError(
        f"the text has {n_read:,} tokens, but {n_tokens:,} are wanted; give more text or fewer "
        "tokens"
    )


def _joined(parts: list[Visits], n_tokens: int) -> Visits:
    leaves = {
        layer_id: torch.cat([part.leaves[layer_id] for part in parts])[:n_tokens]
        for layer_id in parts[0].leaves
    }
    ids, positions = (
        torch.cat([getattr(part, name) for part in parts])[:n_tokens]
        for name in ("ids", "positions")
    )
    return Visits(ids, positions, leaves)
