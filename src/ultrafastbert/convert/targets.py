"""What the original makes of texts, kept on disk: the data of end-to-end distillation.

All models that learn from one original learn from the same texts, so its outputs are computed once.
"""

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, NamedTuple

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from ultrafastbert.convert.batches import batches_of
from ultrafastbert.convert.capture import check_disk, mapped, renew
from ultrafastbert.convert.precision import autocast_of

# The last hidden states are learned, and so many between, which keep the layers in step.
BETWEEN = 2
# Batches of similar lengths come from this many texts at a time.
SORTED_TEXTS = 4096
INDEX = "texts.safetensors"

OnTokens = Callable[[int], None]  # how many were captured so far


class Targets(NamedTuple):
    """Texts and the original's hidden states after some of its layers, the last one among them.

    Attributes:
        ids: int32 (T): tokens of all texts, one after the other.
        starts: int64 (texts + 1): where each text starts among them, and where the last one ends.
        states: bfloat16 (T, N, H), after N layers, read from disk as needed.
        layers: numbers of these layers, from 1.
    """

    ids: Tensor
    starts: Tensor
    states: Tensor
    layers: list[int]

    def batch(self, texts: list[int], pad_token_id: int) -> dict[str, Tensor]:
        """Return texts as a model reads them, and their `targets`: float32 (B, S, N, H)."""
        parts = [slice(int(self.starts[text]), int(self.starts[text + 1])) for text in texts]
        ids = [self.ids[part].long() for part in parts]
        return {
            "input_ids": pad_sequence(ids, True, pad_token_id),
            "attention_mask": pad_sequence([torch.ones_like(text) for text in ids], True, 0),
            "targets": pad_sequence([self.states[part].float() for part in parts], True, 0.0),
        }

    def batches(self, n_batches: int, n_tokens: int, seed: int) -> list[list[int]]:
        """Return batches of texts of similar lengths, of so many tokens with padding.

        Every text comes once before any comes again, in another order.
        """
        generator = torch.Generator().manual_seed(seed)
        lengths: list[int] = self.starts.diff().tolist()
        found: list[list[int]] = []
        while len(found) < n_batches:
            for chunk in torch.randperm(len(lengths), generator=generator).split(SORTED_TEXTS):
                ordered = sorted(chunk.tolist(), key=lengths.__getitem__)
                batches = _cut(ordered, lengths, n_tokens)
                found += [batches[i] for i in torch.randperm(len(batches), generator=generator)]
        return found[:n_batches]


def _cut(ordered: list[int], lengths: list[int], n_tokens: int) -> list[list[int]]:
    """Cut texts, sorted by length, into batches whose longest text times their number fits."""
    batches: list[list[int]] = [[]]
    for text in ordered:
        if batches[-1] and lengths[text] * (len(batches[-1]) + 1) > n_tokens:
            batches.append([])
        batches[-1].append(text)
    return batches


def layers_learned(n_layers: int) -> list[int]:
    """Return numbers of layers, from 1, whose output is learned: evenly spaced, the last included.

    Such as 2, 4 and 6 of 6.
    """
    return sorted({max(1, n_layers * i // (BETWEEN + 1)) for i in range(1, BETWEEN + 2)})


def chosen_states(output: Any, layers: list[int]) -> Tensor:
    """Return a model's hidden states after some layers, the last one's as it gives them out.

    They may have passed a final norm: (B, S, N, H).
    """
    between = [output.hidden_states[layer] for layer in layers[:-1]]
    return torch.stack([*between, output.last_hidden_state], 2)


def disk_bytes(n_tokens: int, hidden_size: int, n_layers: int) -> int:
    """Return how much disk the targets of so many tokens take."""
    states = len(layers_learned(n_layers)) * hidden_size * torch.bfloat16.itemsize
    return n_tokens * (states + torch.int32.itemsize)


def capture_targets(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    texts: Iterable[str],
    n_tokens: int,
    folder: Path,
    max_length: int = 128,
    on_tokens: OnTokens = lambda n: None,
) -> Targets:
    """Run a model over texts of so many tokens in all (or all texts); return its hidden states.

    A folder that holds the result already is read.

    Raises:
        ValueError: if the disk is too small, or no text is that short.
    """
    n_layers, size = model.config.num_hidden_layers, model.config.hidden_size
    layers, done = layers_learned(n_layers), (folder / INDEX).exists()
    if not done:
        renew(folder)
        check_disk(folder, disk_bytes(n_tokens, size, n_layers))
    ids = mapped(folder / "ids.int32", (n_tokens,), torch.int32)
    shape = (n_tokens, len(layers), size)
    states = mapped(folder / "states.bfloat16", shape, torch.bfloat16)
    if not done:
        batches = batches_of(tokenizer, texts, max_length)
        starts = _fill(model, batches, layers, ids, states, on_tokens)
        partial = folder / f"{INDEX}.partial"
        save_file({"starts": starts}, partial)
        partial.replace(folder / INDEX)
    starts = load_file(folder / INDEX)["starts"]
    return Targets(ids[: starts[-1]], starts, states[: starts[-1]], layers)


def _fill(
    model: PreTrainedModel,
    batches: Iterable[dict[str, Tensor]],
    layers: list[int],
    ids: Tensor,
    states: Tensor,
    on_tokens: OnTokens,
) -> Tensor:
    """Write texts and states until no further text fits; return where texts start."""
    starts = [0]
    with torch.no_grad(), autocast_of(model):
        for batch in batches:
            ends = starts[-1] + batch["attention_mask"].sum(1).cumsum(0)
            fitting = int((ends <= len(ids)).sum())
            keep = batch["attention_mask"].bool()[:fitting]  # (B, S)
            part = slice(starts[-1], starts[-1] + int(keep.sum()))
            output = model.base_model(**batch, output_hidden_states=True)
            states[part] = chosen_states(output, layers)[:fitting][keep].bfloat16()
            ids[part] = batch["input_ids"][:fitting][keep].int()
            starts += ends[:fitting].tolist()
            on_tokens(part.stop)
            if fitting < len(ends):
                break
    if len(starts) == 1:
        n_tokens = len(ids)
        raise ValueError(f"no text has {n_tokens:,} tokens or fewer; give more tokens or more text")
    return torch.tensor(starts)
