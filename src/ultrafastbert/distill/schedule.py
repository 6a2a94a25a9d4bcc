"""The learning rate over a run: a short rise, then a fall along a cosine."""

import math

WARM_UP_STEPS = 50
# The learning rate ends at this share of its peak.
FINAL_SHARE = 0.02


def learning_rate_share(step: int, steps: int) -> float:
    """Return the share of the peak learning rate at a step, counted from 0, of so many."""
    warm_up = min(1.0, (step + 1) / WARM_UP_STEPS)
    return warm_up * (FINAL_SHARE + (1 - FINAL_SHARE) * (1 + math.cos(math.pi * step / steps)) / 2)
