"""Kernels made of PyTorch's operators: always available, and written for tensors of one dtype."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from ultrafastbert.fff.spec import TreeSpec, logits_dtype
from ultrafastbert.kernels.base import Gradients, Needs, Output, Problem


@dataclass(frozen=True)
class PlainKernel:
    """A kernel by two functions whose tensors all have one dtype, chosen by that of the weights.

    Attributes:
        name: of the kernel.
        compute: the `forward` of the contract, for x and biases of one dtype.
        differentiate: the `backward` of the contract, for tensors of one dtype but the weights.
        dtype_of: the dtype that x is computed in, by the dtype of the weights.
        is_made_for: whether the kernel computes trees of this spec.
    """

    name: str
    compute: Callable[[Tensor, Tensor, Tensor, Tensor, TreeSpec], Output]
    differentiate: Callable[
        [Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, TreeSpec, Needs], Gradients
    ]
    dtype_of: Callable[[torch.dtype], torch.dtype] = logits_dtype
    is_made_for: Callable[[TreeSpec], bool] = lambda spec: True

    def why_unavailable(self) -> str:
        """Return nothing: PyTorch is always there."""
        return ""

    def is_available(self) -> bool:
        """Return True."""
        return True

    def supports(self, problem: Problem) -> bool:
        """Return whether the kernel is made for the trees, on any device and in any dtype."""
        return self.is_made_for(problem.spec)

    def forward(
        self, x: Tensor, w_in: Tensor, b_in: Tensor, w_out: Tensor, spec: TreeSpec
    ) -> Output:
        """Compute the layer, see `Kernel.forward`."""
        y, leaf, logits = self.compute(x.to(self.dtype_of(w_in.dtype)), w_in, b_in, w_out, spec)
        return y.to(x.dtype), leaf, logits.to(logits_dtype(w_in.dtype))

    def backward(
        self,
        grad_y: Tensor,
        x: Tensor,
        w_in: Tensor,
        w_out: Tensor,
        leaf: Tensor,
        logits: Tensor,
        spec: TreeSpec,
        needs: Needs,
    ) -> Gradients:
        """Compute the gradients, see `Kernel.backward`."""
        grad_y, tokens, logits = (t.to(self.dtype_of(w_in.dtype)) for t in (grad_y, x, logits))
        grads = self.differentiate(grad_y, tokens, w_in, w_out, leaf, logits, spec, needs)
        dtypes = (x.dtype, w_in.dtype, w_in.dtype, w_in.dtype)
        grad_x, grad_w_in, grad_b_in, grad_w_out = (
            None if grad is None else grad.to(dtype)
            for grad, dtype in zip(grads, dtypes, strict=True)
        )
        return grad_x, grad_w_in, grad_b_in, grad_w_out
