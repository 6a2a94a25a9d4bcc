"""The operator against the definition of the layer in float64."""

import itertools

import numpy as np
import pytest
from operator_layers import (
    ACTIVATIONS,
    Layer,
    Sizes,
    compute,
    integer_layer,
    integer_tokens,
    random_layer,
    random_tokens,
    without_nodes,
)
from operator_models import layer_model, run, session

KINDS = ("float32", "bfloat16", "int8")
FAMILY = [
    Sizes(),
    Sizes(depth=0, leaf_size=1),
    Sizes(depth=0, leaf_size=4, n_trees=2),
    Sizes(depth=2, leaf_size=5, n_trees=3),
    Sizes(depth=4, leaf_size=2, node_output=False),
    Sizes(depth=1, hidden_size=1, output_size=1),
    Sizes(depth=5, hidden_size=3, output_size=64),
    Sizes(depth=3, leaf_size=3, hidden_size=63, output_size=130, n_trees=2, node_output=False),
    Sizes(depth=6, hidden_size=768, output_size=3),
]
EPSILON = np.finfo(np.float32).eps


def assert_close(layer: Layer, x: np.ndarray, y: np.ndarray, leaf: np.ndarray) -> None:
    """Check the decisions that rounding cannot change, and y of tokens that took these paths.

    The error is at most twice that of numpy in float32, or four roundings of the largest number.
    """
    own = compute(layer, x)
    assert np.array_equal(leaf[own.clear], own.leaf[own.clear])
    exact = compute(layer, x, leaf).y
    plain = compute(layer, x, leaf, np.float32).y
    bound = max(
        2 * np.abs(plain - exact).max(initial=0), 4 * EPSILON * np.abs(exact).max(initial=0)
    )
    assert np.abs(y - exact).max(initial=0) <= bound


@pytest.mark.parametrize("sizes", FAMILY, ids=str)
def test_integers_give_the_exact_result(sizes: Sizes) -> None:
    sizes = Sizes(**{**vars(sizes), "activation": "relu"})
    layer, x = integer_layer(sizes), integer_tokens((67, sizes.hidden_size))
    y, leaf = run(layer, x)
    expected = compute(layer, x)
    assert np.array_equal(leaf, expected.leaf)
    assert np.array_equal(y, expected.y)


@pytest.mark.parametrize("kinds", list(itertools.product(KINDS, repeat=3)), ids="-".join)
def test_every_mix_of_types_of_weights(kinds: tuple[str, str, str]) -> None:
    for sizes in (Sizes(depth=4, leaf_size=3, hidden_size=33, activation="relu"), Sizes(depth=0)):
        layer, x = integer_layer(sizes, kinds), integer_tokens((40, sizes.hidden_size))
        y, leaf = run(layer, x)
        expected = compute(layer, x)
        assert np.array_equal(leaf, expected.leaf)
        if sizes.activation == "relu":
            assert np.array_equal(y, expected.y)
        layer, x = random_layer(sizes, kinds), random_tokens((40, sizes.hidden_size))
        assert_close(layer, x, *run(layer, x))


@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("sizes", FAMILY, ids=str)
def test_random_weights(sizes: Sizes, activation: str) -> None:
    layer = random_layer(Sizes(**{**vars(sizes), "activation": activation}))
    x = random_tokens((30, sizes.hidden_size))
    assert_close(layer, x, *run(layer, x))


@pytest.mark.parametrize("n_tokens", [0, 1, 2, 128, 129, 1500])
@pytest.mark.parametrize("sizes", [FAMILY[0], FAMILY[3]], ids=str)
def test_numbers_of_tokens(sizes: Sizes, n_tokens: int) -> None:
    layer, x = random_layer(sizes), random_tokens((n_tokens, sizes.hidden_size))
    y, leaf = run(layer, x)
    assert (y.shape, leaf.shape) == ((n_tokens, sizes.output_size), (n_tokens, sizes.n_trees))
    assert (y.dtype, leaf.dtype) == (np.float32, np.int64)
    assert_close(layer, x, y, leaf)


@pytest.mark.parametrize("lead", [(), (1,), (6,), (2, 3), (3, 1, 2), (2, 0, 3)])
def test_ranks_of_x(lead: tuple[int, ...]) -> None:
    sizes = Sizes(n_trees=2)
    layer, x = random_layer(sizes), random_tokens((*lead, sizes.hidden_size))
    y, leaf = run(layer, x)
    assert (y.shape, leaf.shape) == ((*lead, sizes.output_size), (*lead, sizes.n_trees))
    flat_y, flat_leaf = run(layer, x.reshape(-1, sizes.hidden_size))
    assert np.array_equal(y.reshape(flat_y.shape), flat_y)
    assert np.array_equal(leaf.reshape(flat_leaf.shape), flat_leaf)


def test_nan_and_zero_go_left() -> None:
    layer = random_layer(Sizes(depth=4))
    zeros = np.zeros_like(layer.bias)
    layer = Layer(layer.sizes, layer.nodes, layer.leaves, layer.out, zeros)
    x = np.stack([np.full(5, np.nan), np.zeros(5), -np.full(5, np.nan)]).astype(np.float32)
    y, leaf = run(layer, x)
    assert (leaf == 0).all()
    assert np.isnan(y[[0, 2]]).all()
    assert not np.isnan(y[1]).any()


def test_tokens_do_not_depend_on_each_other() -> None:
    layer = random_layer(Sizes(depth=6, hidden_size=40, output_size=24))
    x = random_tokens((300, 40))
    opened = session(layer_model(layer))
    together = opened.run(None, {"x": x})[0]
    apart = np.concatenate([opened.run(None, {"x": token})[0] for token in x.reshape(300, 1, 40)])
    assert np.array_equal(together, apart)


def test_leaf_is_given_only_where_the_graph_asks() -> None:
    layer, x = random_layer(Sizes()), random_tokens((9, 5))
    opened = session(layer_model(layer, with_leaf=False))
    assert [output.name for output in opened.get_outputs()] == ["y"]
    assert np.array_equal(opened.run(None, {"x": x})[0], run(layer, x)[0])


def test_nodes_are_omitted_where_there_are_none() -> None:
    layer, x = random_layer(Sizes(depth=0, leaf_size=6)), random_tokens((9, 5))
    for given, omitted in zip(run(layer, x), run(without_nodes(layer), x), strict=True):
        assert np.array_equal(given, omitted)
