"""The original's outputs on texts, kept on disk: the data of end-to-end distillation.

All models that learn from one original learn from the same texts, so its outputs are computed once.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from ultrafastbert.data.sampling import Text
from ultrafastbert.data.text_batches import batches_of
from ultrafastbert.distill.teacher.capture import check_disk, mapped, renew
from ultrafastbert.distill.teacher.outputs import has_sequence_head, outputs_of
from ultrafastbert.models.precision import autocast_of
from ultrafastbert.runs.status import Count, Show, counting, show_nothing

# The last hidden states are learned, and so many between, which keep the layers in step.
BETWEEN = 2
# Of so many tokens their variance is measured.
VARIANCE_TOKENS = 50_000
# Batches of similar lengths come from this many texts at a time.
SORTED_TEXTS = 4096
# What models read of each token, beside the attention mask, if the tokenizer gives it.
INPUTS = {"input_ids": torch.int32, "token_type_ids": torch.uint8}
# What a batch has beside them: what the original's outputs were.
EXPECTED = ("targets", "logits")
INDEX = "texts.safetensors"
LOGITS = "logits.safetensors"


@dataclass(frozen=True)
class Targets:
    """Texts and the original's hidden states after some of its layers, the last one among them.

    Attributes:
        inputs: what models read of the tokens of all texts, one after the other: `input_ids`, int32
            (T), and `token_type_ids`, uint8 (T), if the tokenizer gives them.
        starts: int64 (texts + 1): where each text starts among them, and where the last one ends.
        states: bfloat16 (T, N, H), after N layers, read from disk as needed.
        layers: these layers, counted from 1.
        logits: float32 (texts, C) of the original's sequence classifier or regression head, if any.
    """

    inputs: dict[str, Tensor]
    starts: Tensor
    states: Tensor
    layers: list[int]
    logits: Tensor | None = None

    @cached_property
    def states_variance(self) -> Tensor:
        """The mean variance of the states' components after each layer, (N)."""
        return self.states[:VARIANCE_TOKENS].float().var(0).mean(1)

    def batch(self, texts: list[int], pad_token_id: int) -> dict[str, Tensor]:
        """Return texts as a model reads them, and their `targets`: float32 (B, S, N, H).

        The others, `inputs` and `attention_mask`, are int64 (B, S); `logits`, if there are any,
        float32 (B, C).
        """
        parts = [slice(int(self.starts[text]), int(self.starts[text + 1])) for text in texts]
        lengths = torch.tensor([part.stop - part.start for part in parts])

        def padded(tokens: Tensor, padding: int = 0) -> Tensor:
            return pad_sequence([tokens[part] for part in parts], True, padding)

        batch = {
            "attention_mask": (torch.arange(int(lengths.max())) < lengths[:, None]).long(),
            "targets": padded(self.states).float(),
        }
        for name, tokens in self.inputs.items():
            batch[name] = padded(tokens, pad_token_id if name == "input_ids" else 0).long()
        if self.logits is not None:
            batch["logits"] = self.logits[texts]
        return batch

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
    """Return the layers, counted from 1, whose output is learned: evenly spaced, with the last one.

    Such as 2, 4 and 6 of 6.
    """
    return sorted({max(1, n_layers * i // (BETWEEN + 1)) for i in range(1, BETWEEN + 2)})


def chosen_states(body: Any, layers: list[int]) -> Tensor:
    """Return a model's hidden states after some layers, the last one's as it gives them out.

    They may have passed a final norm: (B, S, N, H).
    """
    between = [body.hidden_states[layer] for layer in layers[:-1]]
    return torch.stack([*between, body.last_hidden_state], 2)


def disk_bytes(
    n_tokens: int, hidden_size: int, n_layers: int, tokenizer: PreTrainedTokenizerBase
) -> int:
    """Return how much disk the targets of so many tokens take."""
    states = len(layers_learned(n_layers)) * hidden_size * torch.bfloat16.itemsize
    inputs = sum(dtype.itemsize for dtype in _inputs_of(tokenizer).values())
    return n_tokens * (states + inputs)


def _inputs_of(tokenizer: PreTrainedTokenizerBase) -> dict[str, torch.dtype]:
    return {name: INPUTS[name] for name in INPUTS if name in tokenizer.model_input_names}


def capture_targets(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    texts: Iterable[Text],
    n_tokens: int,
    folder: Path,
    max_length: int = 128,
    on_status: Show = show_nothing,
) -> Targets:
    """Run a model over texts of so many tokens in all (or all texts); return its hidden states.

    A folder that holds the result already is read; one without all inputs, as older versions left
    it, is made anew. Its name says what the text is for, such as `train`.

    Raises:
        ValueError: if the disk is too small, or no text is that short.
    """
    n_layers, size = model.config.num_hidden_layers, model.config.hidden_size
    layers, dtypes = layers_learned(n_layers), _inputs_of(tokenizer)
    paths = {
        name: folder / f"{name}.{str(dtype).removeprefix('torch.')}"
        for name, dtype in dtypes.items()
    }
    has_logits = has_sequence_head(model)
    needed_paths = [*paths.values(), folder / INDEX] + [folder / LOGITS] * has_logits
    done = all(path.exists() for path in needed_paths)
    if not done:
        renew(folder)
        needed = disk_bytes(n_tokens, size, n_layers, tokenizer)
        check_disk(folder, needed)
        what = f"running the original on text ({folder.name}, {needed / 2**30:.2f} GiB on disk)"
        on_tokens = counting(on_status, what, n_tokens, "tokens")
    inputs = {name: mapped(path, (n_tokens,), dtypes[name]) for name, path in paths.items()}
    shape = (n_tokens, len(layers), size)
    states = mapped(folder / "states.bfloat16", shape, torch.bfloat16)
    if not done:
        batches = batches_of(tokenizer, texts, max_length)
        starts, logits = _fill(model, batches, layers, inputs, states, on_tokens)
        if logits is not None:
            save_file({"logits": logits}, folder / LOGITS)
        partial = folder / f"{INDEX}.partial"
        save_file({"starts": starts}, partial)
        partial.replace(folder / INDEX)
    starts = load_file(folder / INDEX)["starts"]
    written = slice(int(starts[-1]))
    inputs = {name: tokens[written] for name, tokens in inputs.items()}
    logits = load_file(folder / LOGITS)["logits"] if has_logits else None
    return Targets(inputs, starts, states[written], layers, logits)


def _fill(
    model: PreTrainedModel,
    batches: Iterable[dict[str, Tensor]],
    layers: list[int],
    inputs: dict[str, Tensor],
    states: Tensor,
    on_tokens: Count,
) -> tuple[Tensor, Tensor | None]:
    """Write texts and states until no further text fits; return where texts start, and logits."""
    starts, logits = [0], []
    with torch.no_grad(), autocast_of(model):
        for batch in batches:
            ends = starts[-1] + batch["attention_mask"].sum(1).cumsum(0)
            fitting = int((ends <= len(states)).sum())
            keep = batch["attention_mask"].bool()[:fitting]  # (B, S)
            part = slice(starts[-1], starts[-1] + int(keep.sum()))
            output = outputs_of(model, batch)
            states[part] = chosen_states(output.body, layers)[:fitting][keep].bfloat16()
            if output.logits is not None:
                logits.append(output.logits[:fitting].float())
            for name, tokens in inputs.items():
                tokens[part] = batch[name][:fitting][keep]
            starts += ends[:fitting].tolist()
            on_tokens(part.stop)
            if fitting < len(ends):
                break
    if len(starts) == 1:
        n_tokens = len(states)
        raise ValueError(f"no text has {n_tokens:,} tokens or fewer; give more tokens or more text")
    return torch.tensor(starts), torch.cat(logits) if logits else None
