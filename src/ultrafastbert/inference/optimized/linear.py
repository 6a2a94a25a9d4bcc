"""A linear layer for inference whose weight is held as its implementation wants it."""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ultrafastbert.inference.optimized.backends import LinearImplementation


class OptimizedLinear(nn.Module):
    """x W^T + b by one implementation: (..., in) -> (..., out), of the dtype of x, no gradient.

    Its state dict is that of the layer it stands for, in float32. Copied and pickled, it packs its
    weight again. Float32 and the processor are all it knows: moving or converting it is an error.

    Args:
        weight: W (out, in) in float32.
        bias: (out), or None.
        linear: the implementation.
        keeps_weight: whether W stays a parameter, as one that another module shares. Otherwise only
            what the implementation holds stays, rounded to its precision.
        transposed: whether `weight` is W's transpose, as of GPT-2's `Conv1D`.
    """

    def __init__(
        self,
        weight: nn.Parameter,
        bias: nn.Parameter | None,
        linear: LinearImplementation,
        keeps_weight: bool = False,
        transposed: bool = False,
    ):
        super().__init__()
        self.linear, self.transposed, self.bias = linear, transposed, bias
        self.shared_weight = weight if keeps_weight else None
        self._pack(weight.detach())

    def _pack(self, weight: Tensor) -> None:
        weight = weight.T if self.transposed else weight
        self.out_features, self.in_features = weight.shape
        bias = None if self.bias is None else self.bias.detach()
        self._packed = self.linear.pack(weight, bias, None, False)

    @property
    def weight(self) -> Tensor:
        """The weight in float32, as it is held; unpacked at each use, so not for every call."""
        if self.shared_weight is not None:
            return self.shared_weight
        weight = self._packed.unpack()
        return (weight.T if self.transposed else weight).contiguous()

    def forward(self, x: Tensor) -> Tensor:
        """Map (..., in) to (..., out); ValueError for x of another size."""
        if x.shape[-1:] != (self.in_features,):
            raise ValueError(f"x of shape {tuple(x.shape)} must be (..., {self.in_features})")
        if x.dim() < 2 or not x.numel():  # not all implementations take these
            weight = self.weight.T if self.transposed else self.weight
            return F.linear(x.float(), weight, self.bias).to(x.dtype)
        return self._packed.run(x.to(self.linear.dtype)).to(x.dtype)

    def _save_to_state_dict(
        self, destination: dict[str, Any], prefix: str, keep_vars: bool
    ) -> None:
        for name in ("weight", "bias"):
            if (tensor := getattr(self, name)) is not None:
                destination[prefix + name] = tensor if keep_vars else tensor.detach()

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *args: Any) -> None:
        raise RuntimeError(
            f"{prefix}weight: an optimized model takes no weights; load them into the original and "
            "optimize that"
        )

    def _apply(self, fn: Any, recurse: bool = True) -> "OptimizedLinear":
        probe = fn(torch.empty(0))
        if probe.device.type != "cpu" or probe.dtype != torch.float32:
            raise RuntimeError(
                f"an optimized model stays on the CPU in float32, not {probe.device} in "
                f"{probe.dtype}; move or convert the original"
            )
        return super()._apply(fn, recurse)

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_packed": self.weight}

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        self._pack(state["_packed"].detach())

    def extra_repr(self) -> str:
        """Describe the layer in `print(model)`."""
        has_bias = self.bias is not None
        return f"{self.in_features}, {self.out_features}, bias={has_bias}, {self.linear}"
