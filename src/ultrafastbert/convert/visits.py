"""Which leaf of every tree each token of a text reaches, in models with fast feedforward layers."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from ultrafastbert.convert.batches import batches_of
from ultrafastbert.layers import FastFeedForward

OnTokens = Callable[[int], None]  # how many were read so far


class Visits(NamedTuple):
    """Tokens and where they went.

    Attributes:
        ids, positions: of the tokens, in the vocabulary and in their text; (T) int64 each.
        leaves: by number of the layer, the leaf that each token reaches in each tree, (T, K) int64.
    """

    ids: Tensor
    positions: Tensor
    leaves: dict[int, Tensor]


def trees_of(model: nn.Module) -> dict[int, FastFeedForward]:
    """Return the fast feedforward layers of depth 1 or more, by number of the Transformer layer."""
    return {
        _layer_number(name): module
        for name, module in model.named_modules()
        if isinstance(module, FastFeedForward) and module.depth
    }


def _layer_number(name: str) -> int:
    """Return the number in a module's name, as in `encoder.layer.3.intermediate.inner`."""
    return next(int(part) for part in name.split(".") if part.isdigit())


@torch.no_grad()
def visits(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    texts: Iterable[str],
    n_tokens: int,
    max_length: int = 128,
    on_tokens: OnTokens = lambda n: None,
) -> Visits:
    """Run a model over texts until so many tokens passed; padding is left out.

    Raises ValueError if the texts have fewer tokens.
    """
    trees, n_read = trees_of(model), 0
    parts: list[Visits] = []
    with _tapped(trees) as inputs:
        for batch in batches_of(tokenizer, texts, max_length):
            model.base_model(**batch)
            mask = batch["attention_mask"]
            keep = mask.bool()  # (B, S)
            real = {n: x.reshape(-1, x.shape[-1])[keep.flatten()] for n, x in inputs.items()}
            leaves = {n: trees[n].visited_leaves(x) for n, x in real.items()}
            parts.append(Visits(batch["input_ids"][keep], (mask.cumsum(1) - 1)[keep], leaves))
            n_read = min(n_tokens, n_read + int(keep.sum()))
            on_tokens(n_read)
            if n_read == n_tokens:
                return _joined(parts, n_tokens)
    raise ValueError(
        f"the text has {n_read:,} tokens, but {n_tokens:,} are wanted; give more text or fewer "
        "tokens"
    )


@contextmanager
def _tapped(trees: dict[int, FastFeedForward]) -> Iterator[dict[int, Tensor]]:
    """Let layers leave their last input in a table."""
    inputs: dict[int, Tensor] = {}
    hooks = [
        layer.register_forward_pre_hook(partial(_keep, inputs, number))
        for number, layer in trees.items()
    ]
    try:
        yield inputs
    finally:
        for hook in hooks:
            hook.remove()


def _keep(
    inputs: dict[int, Tensor], number: int, module: nn.Module, args: tuple[Tensor, ...]
) -> None:
    inputs[number] = args[0]


def _joined(parts: list[Visits], n_tokens: int) -> Visits:
    leaves = {
        number: torch.cat([part.leaves[number] for part in parts])[:n_tokens]
        for number in parts[0].leaves
    }
    ids, positions = (
        torch.cat([getattr(part, name) for part in parts])[:n_tokens]
        for name in ("ids", "positions")
    )
    return Visits(ids, positions, leaves)
