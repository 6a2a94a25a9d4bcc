"""Whole encoders under every implementation of a linear layer that PyTorch has on this machine."""

import copy
from typing import TypeVar

import torch
from torch import Tensor, nn
from transformers.pytorch_utils import Conv1D

from ultrafastbert.bench.baselines import build_dense
from ultrafastbert.fff.dense import FeedForward
from ultrafastbert.inference.optimized.backends import LinearImplementation, Run, pack_linear

Model = TypeVar("Model", bound=nn.Module)


def with_linears(
    model: Model,
    linear: LinearImplementation,
    n_tokens: int,
    keeps_dtype: bool = False,
) -> Model:
    """Return the model with its linear and dense feedforward layers computed by `linear`.

    For inference, of as many tokens at once; the rest is shared with the model. A GELU is part of a
    dense layer of this package; in models of others it stays a step of its own. `keeps_dtype` is
    for models that mix what linear layers give with other tensors: it is of their inputs' dtype.

    Raises ValueError for a model without linear layers.
    """
    shared = {id(tensor): tensor for tensor in (*model.parameters(), *model.buffers())}
    model = copy.deepcopy(model, memo=shared)

    def replace_in(module: nn.Module) -> int:
        n_replaced = 0
        for name, child in list(module.named_children()):
            if (run := _run(child, linear, n_tokens)) is None:
                n_replaced += replace_in(child)
            else:
                setattr(module, name, _Replaced(run, linear.dtype, keeps_dtype))
                n_replaced += 1
        return n_replaced

    if not replace_in(model):
        raise ValueError(f"{type(model).__name__} has no linear layers that PyTorch computes")
    return model


def _run(module: nn.Module, linear: LinearImplementation, n_tokens: int) -> Run | None:
    """Return what computes a layer; None for other modules."""
    if isinstance(module, FeedForward) and module.activation == "gelu":
        return build_dense(linear, module, n_tokens)
    if isinstance(module, Conv1D):  # GPT-2's linear layer, (in, out)
        return linear.pack(module.weight.detach().T, module.bias.detach(), n_tokens, False).run
    if isinstance(module, nn.Linear):
        return pack_linear(linear, module, n_tokens).run
    return None


class _Replaced(nn.Module):
    """A linear or dense feedforward layer, computed by one of the implementations."""

    def __init__(self, run: Run, dtype: torch.dtype, keeps_dtype: bool):
        super().__init__()
        self.run, self.dtype, self.keeps_dtype = run, dtype, keeps_dtype

    def forward(self, x: Tensor) -> Tensor:
        """Map (..., in) to (..., out)."""
        y = self.run(x.to(self.dtype).flatten(0, -2)).unflatten(0, x.shape[:-1])
        return y.to(x.dtype) if self.keeps_dtype else y
