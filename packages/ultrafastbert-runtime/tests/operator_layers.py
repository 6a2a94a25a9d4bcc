"""Layers in numpy: their weights, and what they compute by definition.

Shape letters: T tokens, H hidden size, O output size, K trees, N nodes, M rows of leaves.
"""

import math
from dataclasses import dataclass, field, replace

import numpy as np

_erf = np.vectorize(math.erf, otypes=[np.float64])
ACTIVATIONS = {
    "gelu": lambda z: 0.5 * z * (1 + _erf(z / math.sqrt(2))),
    "gelu_pytorch_tanh": lambda z: (
        0.5 * z * (1 + np.tanh(math.sqrt(2 / math.pi) * (z + 0.044715 * z**3)))
    ),
    "relu": lambda z: np.maximum(z, 0),
    "silu": lambda z: z / (1 + np.exp(-z)),
    "tanh": np.tanh,
    "linear": lambda z: z,
}


@dataclass(frozen=True)
class Sizes:
    """A member of the family."""

    depth: int = 3
    leaf_size: int = 1
    hidden_size: int = 5
    output_size: int = 7
    n_trees: int = 1
    activation: str = "gelu"
    node_output: bool = True

    @property
    def n_nodes(self) -> int:
        return 2**self.depth - 1

    @property
    def n_leaf_rows(self) -> int:
        return 2**self.depth * self.leaf_size

    @property
    def attributes(self) -> dict[str, int | str]:
        return {
            "depth": self.depth,
            "leaf_size": self.leaf_size,
            "activation": self.activation,
            "node_output": int(self.node_output),
        }


@dataclass(frozen=True)
class Rows:
    """Rows of weights (K, rows, columns): float32, int8, or bfloat16 as uint16 bits."""

    stored: np.ndarray
    scale: np.ndarray | None = None  # (K, rows)

    @property
    def values(self) -> np.ndarray:
        """The numbers that the rows stand for, float64."""
        values = self.stored
        if values.dtype == np.uint16:
            values = (values.astype(np.uint32) << 16).view(np.float32)
        values = values.astype(np.float64)
        return values if self.scale is None else values * self.scale[:, :, None]


@dataclass(frozen=True)
class Layer:
    """Sizes and weights."""

    sizes: Sizes
    nodes: Rows
    leaves: Rows
    out: Rows
    bias: np.ndarray  # (K, N + M) float32
    omit_nodes: bool = field(default=False)

    def inputs(self) -> dict[str, np.ndarray | None]:
        """The operator's inputs after x, in order; None: omitted."""
        return {
            "nodes": None if self.omit_nodes else self.nodes.stored,
            "leaves": self.leaves.stored,
            "out": self.out.stored,
            "bias": self.bias,
            "node_scale": self.nodes.scale,
            "leaf_scale": self.leaves.scale,
            "out_scale": self.out.scale,
        }


def rows_of(values: np.ndarray, kind: str) -> Rows:
    """Store float32 values as float32, bfloat16 or int8 with a scale for each row."""
    if kind == "bfloat16":
        return Rows((values.view(np.uint32) >> 16).astype(np.uint16))
    if kind == "int8":
        largest = np.abs(values).max(axis=2, initial=0)
        scale = (np.where(largest > 0, largest, 1) / 127).astype(np.float32)
        return Rows(np.rint(values / scale[:, :, None]).astype(np.int8), scale)
    return Rows(values)


def random_layer(
    sizes: Sizes, kinds: tuple[str, str, str] = ("float32",) * 3, seed: int = 0
) -> Layer:
    """Draw weights of the kinds of nodes, leaves and out."""
    rng = np.random.default_rng(seed)

    def draw(*shape: int) -> np.ndarray:
        return rng.standard_normal(shape, dtype=np.float32) / np.float32(math.sqrt(shape[-1]))

    n_trees, n_rows = sizes.n_trees, sizes.n_nodes + sizes.n_leaf_rows
    return Layer(
        sizes,
        rows_of(draw(n_trees, sizes.n_nodes, sizes.hidden_size), kinds[0]),
        rows_of(draw(n_trees, sizes.n_leaf_rows, sizes.hidden_size), kinds[1]),
        rows_of(draw(n_trees, n_rows, sizes.output_size), kinds[2]),
        draw(n_trees, n_rows),
    )


def integer_layer(
    sizes: Sizes, kinds: tuple[str, str, str] = ("float32",) * 3, seed: int = 0
) -> Layer:
    """Draw small integers as weights, with powers of 2 as scales: nothing is ever rounded."""
    rng = np.random.default_rng(seed)

    def rows(n_rows: int, n_columns: int, kind: str) -> Rows:
        values = rng.integers(-3, 4, (sizes.n_trees, n_rows, n_columns))
        if kind != "int8":
            return rows_of(values.astype(np.float32), kind)
        scale = 2.0 ** rng.integers(-1, 2, (sizes.n_trees, n_rows))
        return Rows(values.astype(np.int8), scale.astype(np.float32))

    n_rows = sizes.n_nodes + sizes.n_leaf_rows
    return Layer(
        sizes,
        rows(sizes.n_nodes, sizes.hidden_size, kinds[0]),
        rows(sizes.n_leaf_rows, sizes.hidden_size, kinds[1]),
        rows(n_rows, sizes.output_size, kinds[2]),
        rng.integers(-2, 3, (sizes.n_trees, n_rows)).astype(np.float32),
    )


def integer_tokens(shape: tuple[int, ...], seed: int = 1) -> np.ndarray:
    """Draw x (..., H) of small integers, float32."""
    return np.random.default_rng(seed).integers(-3, 4, shape).astype(np.float32)


def random_tokens(shape: tuple[int, ...], seed: int = 1) -> np.ndarray:
    """Draw x (..., H), float32."""
    return np.random.default_rng(seed).standard_normal(shape, dtype=np.float32)


@dataclass(frozen=True)
class Expected:
    """What the definition gives for x (T, H)."""

    y: np.ndarray  # (T, O)
    leaf: np.ndarray  # (T, K)
    clear: np.ndarray  # (T, K) whether all decisions clear a margin that rounding does not


def compute(
    layer: Layer,
    x: np.ndarray,
    leaf: np.ndarray | None = None,
    dtype: type = np.float64,
    margin: float = 1e-4,
) -> Expected:
    """Compute a layer of x (T, H) in a dtype, along its own paths or those to given leaves."""
    sizes = layer.sizes
    w_in = np.concatenate([layer.nodes.values, layer.leaves.values], axis=1).astype(dtype)
    w_out, bias, x = (a.astype(dtype) for a in (layer.out.values, layer.bias, x))
    y = np.zeros((len(x), sizes.output_size), dtype)
    reached = np.zeros((len(x), sizes.n_trees), np.int64)
    clear = np.ones((len(x), sizes.n_trees), bool)
    activate = ACTIVATIONS[sizes.activation]
    for t, k in np.ndindex(*reached.shape):
        node = 0
        for level in range(sizes.depth):
            z = w_in[k, node] @ x[t] + bias[k, node]
            clear[t, k] &= not abs(z) <= margin
            if sizes.node_output:
                y[t] += activate(z).astype(dtype) * w_out[k, node]
            right = z > 0 if leaf is None else leaf[t, k] >> (sizes.depth - level - 1) & 1
            node = 2 * node + 1 + int(right)
        reached[t, k] = node - sizes.n_nodes
        first = sizes.n_nodes + reached[t, k] * sizes.leaf_size
        block = slice(first, first + sizes.leaf_size)
        z = w_in[k, block] @ x[t] + bias[k, block]
        y[t] += activate(z).astype(dtype) @ w_out[k, block]
    return Expected(y, reached, clear)


def without_nodes(layer: Layer) -> Layer:
    """Return a layer of depth 0 that omits the input `nodes`."""
    return replace(layer, omit_nodes=True)
