"""Whole encoders under every implementation of a linear layer that PyTorch has on this machine."""

import copy
from typing import TypeVar

from torch import Tensor, nn

from ultrafastbert.bench import baselines
from ultrafastbert.layers import FeedForward

Model = TypeVar("Model", bound=nn.Module)


def with_linears(model: Model, linear: baselines.LinearImplementation, n_tokens: int) -> Model:
    """Return the model with its linear and dense feedforward layers computed by `linear`.

    For inference, of as many tokens at once; the rest is shared with the model. A GELU is part of a
    dense layer of this package; in models of others it stays a step of its own.
    """
    shared = {id(tensor): tensor for tensor in (*model.parameters(), *model.buffers())}
    model = copy.deepcopy(model, memo=shared)
    for module in list(model.modules()):
        for name, child in list(module.named_children()):
            if isinstance(child, FeedForward) and child.activation == "gelu":
                run = baselines.build_dense(linear, child, n_tokens)
            elif isinstance(child, nn.Linear):
                run = baselines.build_linear(linear, child, n_tokens)
            else:
                continue
            setattr(module, name, _Replaced(run, linear))
    return model


class _Replaced(nn.Module):
    """A linear or dense feedforward layer, computed by one of the implementations."""

    def __init__(self, run: baselines.Run, linear: baselines.LinearImplementation):
        super().__init__()
        self.run, self.linear = run, linear

    def forward(self, x: Tensor) -> Tensor:
        """Map (..., in) to (..., out), of the same dtype: models may mix theirs with it."""
        y = self.run(x.to(self.linear.dtype).flatten(0, -2))
        return y.unflatten(0, x.shape[:-1]).to(x.dtype)
