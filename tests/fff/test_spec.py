"""The spec of a layer: what it checks, what it counts, and that it is built once."""

import dataclasses

import pytest

from ultrafastbert import FastFeedForward
from ultrafastbert.fff.spec import TreeSpec, tree_spec


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"depth": -1}, "depth=-1"),
        ({"depth": 31}, "depth=31"),
        ({"depth": 2, "leaf_size": 0}, "leaf_size=0"),
        ({"depth": 2, "activation": "swish"}, "activation='swish' is unknown"),
    ],
)
def test_bad_options_are_named(options, message):
    with pytest.raises(ValueError, match=message):
        TreeSpec(**options)


@pytest.mark.parametrize(("depth", "leaf_size"), [(0, 5), (1, 1), (3, 2), (11, 1)])
def test_counts(depth, leaf_size):
    spec = TreeSpec(depth, leaf_size)
    assert spec.n_nodes == 2**depth - 1
    assert spec.n_rows == spec.n_nodes + 2**depth * leaf_size
    assert spec.n_slots == depth + leaf_size
    assert spec.first_output_slot == 0
    assert dataclasses.replace(spec, node_output=False).first_output_slot == depth


def test_a_spec_is_built_once():
    assert tree_spec(3, 2, "gelu", True) is tree_spec(3, 2, "gelu", True)
    assert tree_spec(3, 2, "gelu", True) == TreeSpec(3, 2)


def test_a_layers_spec_follows_its_options():
    layer = FastFeedForward(8, 3, leaf_size=2, node_output=False)
    assert layer.spec == TreeSpec(3, 2, "gelu", False)
    layer.activation = "relu"
    assert layer.spec == TreeSpec(3, 2, "relu", False)
