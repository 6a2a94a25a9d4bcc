from collections.abc import Callable, Sequence
import enum


class Activation(enum.Enum):
    """Activation function of the neurons."""

    gelu = 0

    gelu_pytorch_tanh = 1

    relu = 2

    silu = 3

    tanh = 4

    linear = 5

class Type(enum.Enum):
    """Type of an array's elements."""

    float32 = 0

    float64 = 1

    bfloat16 = 2

    int8 = 3

class Layer:
    """Sizes of a layer and addresses of its weights."""

    def __init__(self, activations: Type, hidden_size: int, output_size: int, n_trees: int, depth: int, leaf_size: int, activation: Activation, node_output: bool, nodes: tuple[int, Type, int, int], leaves: tuple[int, Type, int, int], out: tuple[int, Type, int, int], bias: int, /) -> None: ...

    def forward(self, n_tokens: int, n_threads: int, x: int, y: int, leaf: int = 0, logits: int = 0) -> None: ...

    def backward(self, n_tokens: int, n_threads: int, grad_y: int, x: int, leaf: int, logits: int, grad_x: int, grad_w_in: int, grad_b_in: int, grad_w_out: int, /) -> None: ...

class Call:
    """A layer called with tensors."""

    def __init__(self, layer: Layer, table: object, holder: dict, held: Sequence[str], tensor: type, is_neg: Callable, obstacles: Sequence[Callable], empty_like: Callable, n_threads: Callable, leaf_type: object | None) -> None: ...

    def holds(self) -> bool: ...

    def __call__(self, x: object | None) -> object: ...

def is_exchange_table(table: object | None) -> bool: ...

def use_huge_pages(data: int, n_bytes: int) -> None: ...

def instruction_set() -> str: ...

def available_instruction_sets() -> list[str]: ...
