"""Comparing an exported model with the original, on random inputs or on texts."""

from collections.abc import Iterable, Mapping
from typing import NamedTuple

import torch
from torch import Tensor
from transformers import PreTrainedModel

from ultrafastbert.inference.engines.paths import same_paths, visits_of
from ultrafastbert.inference.engines.runtimes import Run
from ultrafastbert.inference.engines.tracing import TEXT_INPUTS, example_inputs
from ultrafastbert.models.converted.folder import n_positions

TOLERANCE = 1e-5  # relative to the largest absolute value of an output
# The native kernel rounds inputs of int8 leaves to 16 bits: a sum in another order may round to the
# next integer, 3e-5 of the largest, and later layers add to it.
INT8_LEAVES_TOLERANCE = 1e-3
# Decisions must agree where they are so many times as clear as outputs must be equal.
MARGIN = 10
# Engines sum in another order, so a logit near zero may route a token to another child: about one
# input in a hundred of the published model. A wrong export differs for every input.
DRAWS = 3
MAX_BATCH, MAX_LENGTH = 3, 32

# Norm of the difference over the norm of the outputs, of int8 products: 0.01 to 0.25 where they are
# right (0.4 in random trees), 1.4 where weights are mixed up. The file is proven equal before that.
INT8_TOLERANCE = 0.9


class Closeness(NamedTuple):
    """Outputs beside the original's: relative norm of the difference, mean cosine of vectors."""

    error: float
    cosine: float


def prove_equal(
    model: PreTrainedModel, run: Run, what: str, names: tuple[str, ...] = TEXT_INPUTS[:2]
) -> float:
    """Return the largest error of an exported model, over inputs of several sizes.

    Outputs of padding are not compared. Raises RuntimeError where the error exceeds the tolerance,
    and where tokens take other paths, if the file has these as outputs.
    """
    longest = min(MAX_LENGTH, n_positions(model) or MAX_LENGTH)
    has_int8 = any(getattr(module, "weight_dtype", None) == "int8" for module in model.modules())
    tolerance = INT8_LEAVES_TOLERANCE if has_int8 else TOLERANCE
    sizes = {(1, 1), (1, longest), (MAX_BATCH, (longest + 1) // 2)}
    error = 0.0
    for batch, length in sorted(sizes):
        inputs = (example_inputs(model, batch, length, names) for _ in range(DRAWS))
        found = _least_error(model, run, inputs, tolerance, what)
        if found > tolerance:
            raise RuntimeError(
                f"{what} differs from the model by {found:.1e} on {batch} x {length} random "
                "tokens; it is not kept"
            )
        error = max(error, found)
    return error


def _least_error(
    model: PreTrainedModel,
    run: Run,
    draws: Iterable[dict[str, Tensor]],
    tolerance: float,
    what: str,
) -> float:
    """Return the least error of inputs up to the first within the tolerance."""
    least = float("inf")
    for inputs in draws:
        expected, visits = visits_of(model, inputs)
        got, mask = run(inputs), inputs.get("attention_mask")
        is_same = same_paths(visits, got, mask, MARGIN * tolerance, what)
        error = max(_relative_error(got[name], expected[name], mask) for name in expected)
        if is_same:
            least = min(least, error)
        if least <= tolerance:
            break
    return least


def _relative_error(got: Tensor, expected: Tensor, mask: Tensor | None) -> float:
    got, expected = _of_tokens(got, mask), _of_tokens(expected, mask)
    if got.shape != expected.shape:
        return float("inf")
    scale = expected.abs().amax().clamp(min=torch.finfo(expected.dtype).tiny)
    return float((got - expected).abs().amax() / scale)


def _of_tokens(output: Tensor, mask: Tensor | None) -> Tensor:
    """Return an output without the places of padding, if it has an entry for each token."""
    if mask is None or output.shape[: mask.dim()] != mask.shape:
        return output
    return output[mask.bool()]


def measure_closeness(
    model: PreTrainedModel, run: Run, batches: Iterable[Mapping[str, Tensor]], what: str
) -> Closeness:
    """Return how close the outputs of an int8 model are to the original's on batches of inputs.

    Raises RuntimeError for errors that rounding does not explain.
    """
    differences, norms, cosines = [], [], []
    for inputs in batches:
        with torch.no_grad():
            expected = model(**inputs, return_dict=True)
        name, got = next(iter(run(inputs).items()))
        mask = inputs.get("attention_mask")
        ours, theirs = (_of_tokens(each, mask).double() for each in (got, expected[name]))
        differences.append((ours - theirs).square().sum())
        norms.append(theirs.square().sum())
        cosines.append(torch.cosine_similarity(ours, theirs, dim=-1).flatten())
    error = float((torch.stack(differences).sum() / torch.stack(norms).sum()).sqrt())
    if not error <= INT8_TOLERANCE:
        raise RuntimeError(
            f"{what} differs from the model too much: relative error {error:.2g}, more than "
            f"{INT8_TOLERANCE}; it is not kept"
        )
    return Closeness(error, float(torch.cat(cosines).mean()))
