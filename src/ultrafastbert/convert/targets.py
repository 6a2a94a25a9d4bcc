"""What the original makes of texts, kept on disk: the data of end-to-end distillation.

All models that learn from one original learn from the same texts, so its outputs are computed once.
"""

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import NamedTuple

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from ultrafastbert.convert.batches import batches_of
from ultrafastbert.convert.capture import check_disk, mapped
from ultrafastbert.convert.precision import autocast

# Batches of similar lengths come from this many texts at a time.
SORTED_TEXTS = 4096
INDEX = "texts.safetensors"

OnTokens = Callable[[int], None]  # how many were captured so far


class Targets(NamedTuple):
    """Texts and the original's last hidden states.

    Attributes:
        ids: int32 (T): tokens of all texts, one after the other.
        starts: int64 (texts + 1): where each text starts among them, and where the last one ends.
        hidden: bfloat16 (T, H), read from disk as needed.
    """

    ids: Tensor
    starts: Tensor
    hidden: Tensor

    def batch(self, texts: list[int], pad_token_id: int) -> dict[str, Tensor]:
        """Return texts as a model reads them, and their `targets`: float32 (B, S, H)."""
        parts = [slice(int(self.starts[text]), int(self.starts[text + 1])) for text in texts]
        ids = [self.ids[part].long() for part in parts]
        return {
            "input_ids": pad_sequence(ids, True, pad_token_id),
            "attention_mask": pad_sequence([torch.ones_like(text) for text in ids], True, 0),
            "targets": pad_sequence([self.hidden[part].float() for part in parts], True, 0.0),
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


def disk_bytes(n_tokens: int, hidden_size: int) -> int:
    """Return how much disk the targets of so many tokens take."""
    return n_tokens * (hidden_size * torch.bfloat16.itemsize + torch.int32.itemsize)


def capture_targets(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    texts: Iterable[str],
    n_tokens: int,
    folder: Path,
    max_length: int = 128,
    on_tokens: OnTokens = lambda n: None,
) -> Targets:
    """Run a model over texts of so many tokens in all (or all texts); return its last states.

    A folder that holds the result already is read.

    Raises:
        ValueError: if the disk is too small, or no text is that short.
    """
    size = model.config.hidden_size
    if not (folder / INDEX).exists():
        folder.mkdir(parents=True, exist_ok=True)
        check_disk(folder, disk_bytes(n_tokens, size))
        starts = _fill(
            model, tokenizer, texts, max_length, *_open(folder, n_tokens, size), on_tokens
        )
        save_file({"starts": starts}, folder / INDEX)
    return Targets(
        _open(folder, n_tokens, size)[0],
        load_file(folder / INDEX)["starts"],
        _open(folder, n_tokens, size)[1],
    )


def _open(folder: Path, n_tokens: int, size: int) -> tuple[Tensor, Tensor]:
    ids = mapped(folder / "ids.int32", (n_tokens,), torch.int32)
    return ids, mapped(folder / "hidden.bfloat16", (n_tokens, size), torch.bfloat16)


def _fill(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    texts: Iterable[str],
    max_length: int,
    ids: Tensor,
    hidden: Tensor,
    on_tokens: OnTokens,
) -> Tensor:
    """Write texts and states until no further text fits; return where texts start."""
    starts = [0]
    with torch.no_grad(), autocast():
        for batch in batches_of(tokenizer, texts, max_length):
            ends = starts[-1] + batch["attention_mask"].sum(1).cumsum(0)
            fitting = int((ends <= len(ids)).sum())
            keep = batch["attention_mask"].bool()[:fitting]  # (B, S)
            part = slice(starts[-1], starts[-1] + int(keep.sum()))
            states = model.base_model(**batch).last_hidden_state[:fitting]
            hidden[part] = states[keep].bfloat16()
            ids[part] = batch["input_ids"][:fitting][keep].int()
            starts += ends[:fitting].tolist()
            on_tokens(part.stop)
            if fitting < len(ends):
                break
    if len(starts) == 1:
        raise ValueError(f"no text has {len(ids):,} tokens or fewer; give more tokens or more text")
    return torch.tensor(starts)
