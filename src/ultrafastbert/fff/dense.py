"""Dense feedforward layers, the controls of the fast feedforward layer."""

import torch
from torch import Tensor, nn

from ultrafastbert.fff.activations import ACTIVATIONS, check_activation
from ultrafastbert.fff.machine import check_memory


class FeedForward(nn.Module):
    """Dense feedforward layer, act(x W_in + b) W_out: (..., H) -> (..., O).

    The control of the fast feedforward layer, at full width and as wide as the active neurons.
    Without biases unless asked, as crammedBERT's (arXiv 2212.14034): `bias` is that of
    the neurons, `output_bias` that of the sum.
    """

    def __init__(
        self,
        hidden_size: int,
        intermediate_size: int,
        output_size: int | None = None,
        activation: str = "gelu",
        bias: bool = False,
        output_bias: bool = False,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ):
        super().__init__()
        output_size = hidden_size if output_size is None else output_size
        check_activation(activation)
        check_sizes(hidden_size=hidden_size, intermediate_size=intermediate_size)
        check_memory(intermediate_size * (hidden_size + output_size), dtype, device)
        self.intermediate_size, self.activation = intermediate_size, activation
        factory = {"device": device, "dtype": dtype}
        self.dense_in = nn.Linear(hidden_size, intermediate_size, bias=bias, **factory)
        self.dense_out = nn.Linear(intermediate_size, output_size, bias=output_bias, **factory)

    def forward(self, x: Tensor) -> Tensor:
        """Map (..., hidden_size) to (..., output_size)."""
        return self.dense_out(ACTIVATIONS[self.activation].forward(self.dense_in(x)))


class GatedFeedForward(nn.Module):
    """Gated dense layer, (a * act(g)) W_out with [a, g] = x W_in: (..., H) -> (..., H).

    `intermediate_size` is the width of W_in, so half of it reaches W_out: crammedBERT's layout.
    `bias` is for both.
    """

    def __init__(
        self,
        hidden_size: int,
        intermediate_size: int,
        activation: str = "gelu",
        bias: bool = False,
    ):
        super().__init__()
        check_activation(activation)
        check_sizes(hidden_size=hidden_size, intermediate_size=intermediate_size)
        if intermediate_size % 2:
            raise ValueError(
                f"intermediate_size={intermediate_size} must be even for a gated layer"
            )
        check_memory(intermediate_size * hidden_size * 3 // 2, None, None)
        self.activation = activation
        self.dense_in = nn.Linear(hidden_size, intermediate_size, bias=bias)
        self.dense_out = nn.Linear(intermediate_size // 2, hidden_size, bias=bias)

    def forward(self, x: Tensor) -> Tensor:
        """Map (..., hidden_size) to (..., hidden_size)."""
        value, gate = self.dense_in(x).chunk(2, dim=-1)
        return self.dense_out(value * ACTIVATIONS[self.activation].forward(gate))


def check_sizes(**sizes: int) -> None:
    """Raise ValueError unless each of the named sizes is at least 1."""
    for name, size in sizes.items():
        if size < 1:
            raise ValueError(f"{name}={size} must be at least 1")
