"""Batch size and learning rate of each step over a budget of tokens.

crammedBERT (arXiv 2212.14034, section 4.3) ramps the batch linearly over the first part of the
budget and lets the learning rate rise and fall linearly over all of it.
"""

from collections.abc import Callable, Iterator

import numpy as np
from torch.utils.data import Sampler


def batch_ramp(
    n_rows: int, first_size: int, last_size: int, ramp_fraction: float, multiple: int = 1
) -> np.ndarray:
    """Return the rows of each step, (steps,) int64, growing linearly over the budget.

    The growth from `first_size` to `last_size` ends after `ramp_fraction` of the `n_rows` of the
    budget. Every entry is a positive multiple of `multiple`; the rows of a last step that would
    pass the budget are left out.
    """
    steps: list[int] = []
    seen = 0
    while True:
        progress = min(1.0, seen / max(1.0, ramp_fraction * n_rows)) if ramp_fraction else 1.0
        size = first_size + progress * (last_size - first_size)
        size = max(1, round(size / multiple)) * multiple
        if seen + size > n_rows:
            return np.array(steps, dtype=np.int64)
        steps.append(size)
        seen += size


def triangle(ramp: np.ndarray, peak_fraction: float) -> Callable[[int], float]:
    """Return the factor of the learning rate at each step: 0 to 1 at the peak, then down to 0.

    The schedule is linear in rows read, not in steps, as the budget is what is spent.
    """
    middle = (np.cumsum(ramp) - ramp / 2) / max(1, ramp.sum())  # share of the budget at each step
    factors = np.minimum(middle / peak_fraction, (1 - middle) / (1 - peak_fraction))

    def factor(step: int) -> float:
        return float(factors[step]) if step < len(factors) else 0.0

    return factor


class RampedBatches(Sampler[list[int]]):
    """Batches of consecutive positions, `parts` for each step of a ramp.

    A step is cut into equal parts: one per process and accumulated micro-batch.
    """

    # Read by accelerate, which deals whole batches to the processes in turn, and with a size that
    # is not None would leave out those of another size.
    batch_size = None
    drop_last = False

    def __init__(self, ramp: np.ndarray, parts: int):
        self.ramp, self.parts = ramp, parts

    def __len__(self) -> int:
        return len(self.ramp) * self.parts

    def __iter__(self) -> Iterator[list[int]]:
        start = 0
        for size in np.repeat(self.ramp // self.parts, self.parts).tolist():
            yield list(range(start, start + size))
            start += size
