"""Batches: each text once, within the budget, with next to no padding."""

import random

import pytest
from ultrafastbert_runtime.batches import batches


def lengths_of(kind, n=500):
    draw = random.Random(0)
    return {
        "same": [12] * n,
        "uniform": [draw.randint(2, 256) for _ in range(n)],
        "mixed": [min(256, int(draw.lognormvariate(3, 1)) + 2) for _ in range(n)],
        "one": [5],
        "none": [],
    }[kind]


@pytest.mark.parametrize("kind", ["same", "uniform", "mixed", "one", "none"])
@pytest.mark.parametrize(("budget", "most"), [(1, None), (300, 3), (4096, None), (10**9, 64)])
def test_every_text_once_and_within_the_budget(kind, budget, most):
    lengths = lengths_of(kind)
    found = list(batches(lengths, budget, most, 1))
    assert sorted(int(place) for batch in found for place in batch) == list(range(len(lengths)))
    for batch in found:
        tokens = len(batch) * max(lengths[place] for place in batch)
        assert len(batch) == 1 or tokens <= budget
        assert most is None or len(batch) <= most


@pytest.mark.parametrize("kind", ["same", "uniform", "mixed"])
@pytest.mark.parametrize("n", [64, 5000])
def test_padding_is_rare(kind, n):
    lengths = lengths_of(kind, n)
    found = list(batches(lengths, 2048, None, 1))
    computed = sum(len(batch) * max(lengths[place] for place in batch) for batch in found)
    assert computed / sum(lengths) < 1.1
    assert len(found) < 0.6 * n  # not by computing each text alone
