"""Time of whole models, in turn: one short text, and a batch of shorter ones."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedModel

from ultrafastbert.bench.timing import Name, OtherLoad, Timing, interleave, use_threads
from ultrafastbert.models.converted.folder import n_positions

# Texts and tokens of each: what a query is, and what is encoded in bulk.
SHAPES = {"text": (1, 128), "batch": (32, 32)}
N_BATCHES = 4  # that rotate
SECONDS = 1.5  # for each model

Encode = Callable[[Tensor], Tensor]  # ids (B, S) int64 -> last hidden states (B, S, H)


def encoder_of(model: PreTrainedModel) -> Encode:
    """Return what encodes with a model, as a user calls it, without its head."""
    body = model.base_model
    return lambda ids: body(input_ids=ids).last_hidden_state


def batches_of_shape(
    models: Iterable[PreTrainedModel], shape: tuple[int, int], ids: Tensor
) -> Tensor:
    """Cut texts of one shape from real tokens: (batches, texts, tokens).

    Texts have fewer tokens where one of the models reads fewer.
    """
    limits = filter(None, map(n_positions, models))
    length = min([shape[1], *limits])
    n_tokens = N_BATCHES * shape[0] * length
    return ids.repeat(-(-n_tokens // len(ids)))[:n_tokens].view(N_BATCHES, shape[0], length)


def time_encoders(
    encoders: Mapping[Name, Encode], batches: Tensor, seconds: float
) -> dict[Name, Timing]:
    """Time encoders on batches of ids, in turn, one thread, so many seconds for each."""

    def run_of(encode: Encode) -> Callable[[int], object]:
        return lambda number: encode(batches[number % len(batches)])

    runs = {name: run_of(encode) for name, encode in encoders.items()}
    with use_threads(1), torch.inference_mode():
        return interleave(runs, seconds * len(runs))


def time_models(
    models: Mapping[str, PreTrainedModel],
    shape: tuple[int, int],
    ids: Tensor,
    seconds: float,
) -> dict[str, Timing]:
    """Time models on texts of one shape: forward, in PyTorch, float32, one thread.

    Args:
        models: any number, by name.
        shape: texts and tokens of each, which are fewer where a model reads fewer.
        ids: real tokens, from which texts are cut.
        seconds: for each model.
    """
    encoders = {name: encoder_of(model) for name, model in models.items()}
    return time_encoders(encoders, batches_of_shape(models.values(), shape, ids), seconds)


def latency_fields(
    models: Mapping[str, PreTrainedModel], original: str, ids: Tensor
) -> dict[str, dict[str, Any]]:
    """Return the fields of rows, by model: milliseconds, and how many times the original's speed.

    `latency_SHAPE_ms` are medians, `speedup_SHAPE` the 10th percentile, median and 90th, of SHAPE
    `text` (one of 128 tokens, or as many as all models read) and `batch` (32 of 32 tokens).
    """
    fields: dict[str, dict[str, Any]] = {name: {} for name in models}
    for title, shape in SHAPES.items():
        load = OtherLoad()
        timings = time_models(models, shape, ids, SECONDS)
        for name, timing in timings.items():
            fields[name] |= timing_fields(title, timing, timings[original], load)
    return fields


def timing_fields(title: str, timing: Timing, original: Timing, load: OtherLoad) -> dict[str, Any]:
    """Return the fields of one model's time at the shape of that title."""
    return {
        f"latency_{title}_ms": 1e3 * timing.median,
        f"speedup_{title}": timing.speedup_over(original),
        f"other_load_{title}": load.share(),
    }
