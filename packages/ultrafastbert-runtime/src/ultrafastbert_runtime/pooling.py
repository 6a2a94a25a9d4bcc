"""Vectors of tokens to one of a text, as the folder of the model says."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from ultrafastbert_runtime.folder import ModelFolder, read_json

# In the order in which sentence-transformers joins them; the names of older files beside them.
MODES = {
    "cls": "pooling_mode_cls_token",
    "max": "pooling_mode_max_tokens",
    "mean": "pooling_mode_mean_tokens",
    "mean_sqrt_len_tokens": "pooling_mode_mean_sqrt_len_tokens",
    "weightedmean": "pooling_mode_weightedmean_tokens",
    "lasttoken": "pooling_mode_lasttoken",
}


@dataclass(frozen=True)
class Pooling:
    """How vectors of tokens become one.

    Attributes:
        modes: of `MODES`; the results of several are joined.
        normalize: whether the result has length 1.
    """

    modes: tuple[str, ...] = ("mean",)
    normalize: bool = False

    def __call__(self, states: np.ndarray, mask: np.ndarray) -> np.ndarray:
        """Return vectors of texts: states (B, S, H) float32, mask (B, S) -> (B, H * modes)."""
        vectors = [pool(states, mask, mode) for mode in self.modes]
        joined = vectors[0] if len(vectors) == 1 else np.concatenate(vectors, axis=1)
        return unit(joined) if self.normalize else joined


def read_pooling(folder: ModelFolder) -> Pooling:
    """Return how a model pools: by its `modules.json`, or else its `config.json`, or else mean.

    Raises ValueError for modules other than of sentence-transformers' Transformer, Pooling and
    Normalize.
    """
    path = folder.find("modules.json")
    if path is None:
        config = folder.settings("config.json")
        mode = config.get("sentence_pooling", "mean")
        return Pooling(_checked((mode,), "config.json"), bool(config.get("normalize_embeddings")))
    kinds = []
    modes: tuple[str, ...] = ("mean",)
    for kind, place in _modules(path):
        kinds.append(kind)
        if kind == "Pooling":
            modes = _modes(folder, f"{place}/config.json")
    if kinds not in (["Transformer", "Pooling"], ["Transformer", "Pooling", "Normalize"]):
        raise ValueError(
            f"{path} lists {', '.join(kinds)}: only Transformer, Pooling and Normalize can be run"
        )
    return Pooling(modes, "Normalize" in kinds)


def pool(states: np.ndarray, mask: np.ndarray, mode: str) -> np.ndarray:
    """Return one vector for each text: states (B, S, H), mask (B, S), texts at the left -> (B, H).

    The modes are those of sentence-transformers.
    """
    lengths = mask.sum(axis=1)
    if mode == "cls":
        return states[:, 0]
    if mode == "lasttoken":
        return states[np.arange(len(states)), np.maximum(lengths - 1, 0)]
    if mode == "max":
        return np.where(mask[:, :, None] == 1, states, -np.inf).max(axis=1)
    weights = mask.astype(states.dtype)
    if mode == "weightedmean":
        weights *= np.arange(1, mask.shape[1] + 1, dtype=states.dtype)
    sums = np.matmul(weights[:, None, :], states)[:, 0]  # (B, H)
    total = np.maximum(weights.sum(axis=1, keepdims=True), np.float32(1e-9))
    return sums / (np.sqrt(total) if mode == "mean_sqrt_len_tokens" else total)


def unit(vectors: np.ndarray) -> np.ndarray:
    """Return vectors scaled to length 1, zeros as they are: (n, H) -> (n, H)."""
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    return vectors / np.maximum(lengths, np.float32(1e-12))


def _modules(path: Any) -> list[tuple[str, str]]:
    """Return what `modules.json` lists: kinds such as `Pooling`, and their folders."""
    found = read_json(path)
    try:
        return [(str(entry["type"]).rpartition(".")[2], str(entry["path"])) for entry in found]
    except (KeyError, TypeError):
        raise ValueError(f"{path} must list modules with their type and path") from None


def _modes(folder: ModelFolder, name: str) -> tuple[str, ...]:
    folder.require(name)
    settings = folder.settings(name)
    if "pooling_mode" in settings:
        found = settings["pooling_mode"]
        return _checked(tuple(found) if isinstance(found, list) else (found,), name)
    return tuple(mode for mode, older in MODES.items() if settings.get(older)) or ("mean",)


def _checked(modes: tuple[Any, ...], name: str) -> tuple[str, ...]:
    for mode in modes:
        if not isinstance(mode, str) or mode not in MODES:
            raise ValueError(f"{name}: pooling_mode={mode!r} must be one of {', '.join(MODES)}")
    return modes
