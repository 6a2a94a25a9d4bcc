"""How much outputs of a model change when it is optimized, measured on texts."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import cosine_similarity

from ultrafastbert.data.text_batches import batches_of
from ultrafastbert.data.text_collections import checked_texts
from ultrafastbert.models.converted.folder import n_positions

# Tokens of a text where neither the tokenizer nor the model says how many it reads.
MAX_LENGTH = 512


@dataclass(frozen=True)
class Difference:
    """Outputs of two models compared, vector by vector.

    Attributes:
        n_texts: texts that both read.
        of: what is compared: sentence vectors, or an output and whether of texts or tokens.
        cosine_mean, cosine_least: of the vectors before and after.
        relative_error: root mean square of the difference over that of the output before.
    """

    n_texts: int
    of: str
    cosine_mean: float
    cosine_least: float
    relative_error: float

    def __str__(self) -> str:
        return (
            f"{self.of} of {self.n_texts} texts: mean cosine {self.cosine_mean:.5f}, least "
            f"{self.cosine_least:.5f}, relative error {self.relative_error:.1e}"
        )


def checked(model: nn.Module, texts: Iterable[str], tokenizer: Any) -> list[str]:
    """Return the texts as a list; ValueError for none, others than texts, and no tokenizer."""
    found = list(checked_texts(texts, "texts"))
    if not found:
        raise ValueError("texts is empty: give some, or leave texts out")
    if tokenizer is None and not _encodes(model):
        raise ValueError(
            f"texts are given, but no tokenizer, and {type(model).__name__} has none: give "
            "tokenizer="
        )
    return found


def compare(before: nn.Module, after: nn.Module, texts: list[str], tokenizer: Any) -> Difference:
    """Compare two models in evaluation mode on texts, see `Difference`.

    SentenceTransformers by their sentence vectors, others by the first output that is no loss: the
    vector of each token that is no padding, or of each text. Cosines of outputs of one number, as
    of regression heads, tell its sign only.
    """
    with torch.inference_mode(), _keeping_mode(before):
        if _encodes(before):
            of, pairs = "sentence vectors", [(_encode(before, texts), _encode(after, texts))]
        else:
            of, pairs = _outputs(before, after, texts, tokenizer)
    old, new = (torch.cat([pair[i] for pair in pairs]).double() for i in (0, 1))
    cosines = cosine_similarity(old, new, dim=1)
    error = float((new - old).norm() / old.norm().clamp(min=torch.finfo(torch.float32).tiny))
    return Difference(len(texts), of, float(cosines.mean()), float(cosines.min()), error)


@contextmanager
def _keeping_mode(model: nn.Module) -> Iterator[None]:
    """Restore which modules are in training mode: `encode` changes it."""
    training = {module: module.training for module in model.modules()}
    try:
        yield
    finally:
        for module, mode in training.items():
            module.training = mode


def _encodes(model: nn.Module) -> bool:
    """Return whether a model is a SentenceTransformer."""
    return callable(getattr(model, "encode", None))


def _encode(model: Any, texts: list[str]) -> Tensor:
    return torch.from_numpy(model.encode(texts, show_progress_bar=False))


def _outputs(
    before: nn.Module, after: nn.Module, texts: list[str], tokenizer: Any
) -> tuple[str, list[tuple[Tensor, Tensor]]]:
    pairs, of = [], ""
    for batch in batches_of(tokenizer, texts, _max_length(before, tokenizer)):
        name, old = _first(before(**batch))
        _, new = _first(after(**batch))
        is_of_tokens = old.dim() == 3 and old.shape[:2] == batch["input_ids"].shape
        of = f"{name} by {'token' if is_of_tokens else 'text'}"
        if is_of_tokens:
            mask = batch.get("attention_mask", torch.ones_like(batch["input_ids"])).bool()
            pairs.append((old[mask], new[mask]))
        else:
            pairs.append((old.flatten(1), new.flatten(1)))
    return of, pairs


def _max_length(model: nn.Module, tokenizer: Any) -> int:
    limits = [MAX_LENGTH, tokenizer.model_max_length]
    if hasattr(model, "config") and (positions := n_positions(model)):  # type: ignore[arg-type]
        limits.append(positions)
    return min(limits)


def _first(output: Any) -> tuple[str, Tensor]:
    """Return the name and value of the first output that is no loss; ValueError without one."""
    for name, value in _named(output):
        if isinstance(value, Tensor) and value.is_floating_point() and name != "loss":
            return name, value
    raise ValueError(f"{type(output).__name__} holds no floats to compare; leave texts out")


def _named(output: Any) -> Iterator[tuple[str, Any]]:
    if isinstance(output, Tensor):
        yield "outputs", output
    elif hasattr(output, "items"):
        yield from output.items()
    else:
        yield from (("outputs", value) for value in output)
