"""Comparing an exported model with the original on random inputs."""

import torch
from torch import Tensor
from transformers import PreTrainedModel

from ultrafastbert.inference.engines.runtimes import Run
from ultrafastbert.inference.engines.tracing import example_inputs

TOLERANCE = 1e-4  # relative to the largest absolute value of an output, or to 1 if that is smaller
# Engines sum in another order, so a logit near zero may route a token to another child: about one
# input in a hundred of the published model. A wrong export differs for every input.
DRAWS = 3
MAX_BATCH, MAX_LENGTH = 3, 32


def prove_equal(model: PreTrainedModel, run: Run, what: str) -> float:
    """Return the largest error of an exported model, over inputs of several sizes.

    Raises RuntimeError where it exceeds the tolerance.
    """
    longest = min(MAX_LENGTH, model.config.max_position_embeddings)
    return max(
        _error(model, run, batch, length, what)
        for batch, length in {(1, 1), (1, longest), (MAX_BATCH, (longest + 1) // 2)}
    )


def _error(model: PreTrainedModel, run: Run, batch: int, length: int, what: str) -> float:
    error = float("nan")
    for _ in range(DRAWS):
        inputs = example_inputs(model, batch, length)
        with torch.no_grad():
            expected = model(**inputs, return_dict=True)
        got = run(inputs)
        error = max(_relative_error(got[name], expected[name]) for name in expected)
        if error <= TOLERANCE:
            return error
    raise RuntimeError(
        f"{what} differs from the model by {error:.1e} on {batch} x {length} random tokens; it is "
        "not kept"
    )


def _relative_error(got: Tensor, expected: Tensor) -> float:
    scale = expected.abs().amax().clamp(min=1.0)
    return float((got - expected).abs().amax() / scale)
