"""Time of whole models, in turn: one short text, and a batch of shorter ones."""

from collections.abc import Mapping
from functools import partial

import torch
from torch import Tensor
from transformers import PreTrainedModel

from ultrafastbert.bench.timing import OtherLoad, Timing, interleave, use_threads
from ultrafastbert.convert.folder import n_positions
from ultrafastbert.rows import Row

# Texts and tokens of each: what a query is, and what is encoded in bulk.
SHAPES = {"text": (1, 128), "batch": (32, 32)}
N_BATCHES = 4  # that rotate
SECONDS = 1.5  # for each model


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
    limits = filter(None, map(n_positions, models.values()))
    length = min([shape[1], *limits])
    n_tokens = N_BATCHES * shape[0] * length
    inputs = ids.repeat(-(-n_tokens // len(ids)))[:n_tokens].view(N_BATCHES, shape[0], length)
    runs = {name: partial(_run, model, inputs) for name, model in models.items()}
    with use_threads(1), torch.inference_mode():
        return interleave(runs, seconds * len(runs))


def _run(model: PreTrainedModel, inputs: Tensor, number: int) -> None:
    model.base_model(input_ids=inputs[number % len(inputs)])


def latency_fields(
    models: Mapping[str, PreTrainedModel], original: str, ids: Tensor
) -> dict[str, Row]:
    """Return the fields of rows, by model: milliseconds, and how many times the original's speed.

    `latency_SHAPE_ms` are medians, `speedup_SHAPE` the 10th percentile, median and 90th, of SHAPE
    `text` (one of 128 tokens, or as many as all models read) and `batch` (32 of 32 tokens).
    """
    fields: dict[str, Row] = {name: {} for name in models}
    for title, shape in SHAPES.items():
        load = OtherLoad()
        timings = time_models(models, shape, ids, SECONDS)
        for name, timing in timings.items():
            fields[name] |= {
                f"latency_{title}_ms": 1e3 * timing.median,
                f"speedup_{title}": timing.speedup_over(timings[original]),
                f"other_load_{title}": load.share(),
            }
    return fields
