"""The named activations of feedforward layers, each with its derivative.

Names are those of `transformers.activations.ACT2FN`.
"""

from collections.abc import Callable
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

aten = torch.ops.aten


class Activation(NamedTuple):
    """An elementwise function and its vector-Jacobian product."""

    forward: Callable[[Tensor], Tensor]  # z -> act(z)
    backward: Callable[[Tensor, Tensor], Tensor]  # (gradient of act(z), z) -> gradient of z


def _gelu_tanh(z: Tensor) -> Tensor:
    return F.gelu(z, approximate="tanh")


def _gelu_tanh_backward(grad: Tensor, z: Tensor) -> Tensor:
    return aten.gelu_backward(grad, z, approximate="tanh")


def _relu_backward(grad: Tensor, z: Tensor) -> Tensor:
    return aten.threshold_backward(grad, z, 0)


def _tanh_backward(grad: Tensor, z: Tensor) -> Tensor:
    return aten.tanh_backward(grad, torch.tanh(z))


ACTIVATIONS = {
    "gelu": Activation(F.gelu, aten.gelu_backward),
    "gelu_pytorch_tanh": Activation(_gelu_tanh, _gelu_tanh_backward),
    "relu": Activation(torch.relu, _relu_backward),
    "silu": Activation(F.silu, aten.silu_backward),
    "tanh": Activation(torch.tanh, _tanh_backward),
    "linear": Activation(torch.clone, lambda grad, z: grad.clone()),
}


def check_activation(name: str) -> None:
    """Raise ValueError unless `name` is one of the named activations."""
    if name not in ACTIVATIONS:
        raise ValueError(f"activation={name!r} is unknown; choose one of {', '.join(ACTIVATIONS)}")
