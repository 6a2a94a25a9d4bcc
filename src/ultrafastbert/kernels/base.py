"""The contract of kernels: what each of them must offer, and what it may.

A kernel computes the definition of `ultrafastbert.fff.reference`, forward and backward. It is
called with tensors that are checked and contiguous, of one device.

Sizes: T tokens, H hidden, O output, K trees, R rows per tree, S = D + L slots per path.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol, runtime_checkable

import torch
from torch import Tensor

from ultrafastbert.fff.quantization import Weights
from ultrafastbert.fff.spec import TreeSpec

Output = tuple[Tensor, Tensor, Tensor]  # y (T, O), leaf (T, K) int64, logits (T, K, S)
Needs = tuple[bool, bool, bool, bool]  # which gradients: of x, w_in, b_in, w_out
Gradients = tuple[Tensor | None, Tensor | None, Tensor | None, Tensor | None]


class Problem(NamedTuple):
    """What a kernel is asked for, without the data: where, in which dtype, of which sizes.

    The number of tokens is no part of it: a layer has one kernel for batches of any size.
    """

    device_type: str
    dtype: torch.dtype  # of x and y
    spec: TreeSpec
    n_trees: int
    hidden_size: int
    output_size: int

    def __str__(self) -> str:
        """Describe the problem in errors."""
        sizes = (
            f"n_trees={self.n_trees}, hidden_size={self.hidden_size}, "
            f"output_size={self.output_size}"
        )
        return f"{self.dtype} on {self.device_type}, {self.spec}, {sizes}"

    @classmethod
    def of(cls, x: Tensor, w_in: Tensor, w_out: Tensor, spec: TreeSpec) -> "Problem":
        """Return the problem that x (T, H), w_in (K, R, H) and w_out (K, R, O) pose."""
        n_trees, _, hidden_size = w_in.shape
        return cls(x.device.type, x.dtype, spec, n_trees, hidden_size, w_out.shape[2])


class Kernel(Protocol):
    """One implementation of the layer. Each file of `ultrafastbert.kernels` defines one."""

    @property
    def name(self) -> str:
        """The name that users write: `kernel="gather"`."""

    def why_unavailable(self) -> str:
        """Return what this kernel lacks here and how to get it; "" where it works."""

    def is_available(self) -> bool:
        """Return whether it works here, on some device: `why_unavailable()` returns ""."""

    def supports(self, problem: Problem) -> bool:
        """Return whether it computes this device, dtype and these sizes."""

    def forward(
        self, x: Tensor, w_in: Tensor, b_in: Tensor, w_out: Tensor, spec: TreeSpec
    ) -> Output:
        """Compute the layer, and what the backward pass needs.

        Shapes: x (T, H), w_in (K, R, H), b_in (K, R), w_out (K, R, O) -> y (T, O),
        leaf (T, K) int64, logits (T, K, S). x and y may be bfloat16 beside float32 weights. Sums
        and logits have the `logits_dtype` of the weights.
        """

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
        """Compute the gradients of x, w_in, b_in and w_out; None for those not needed.

        `leaf` and `logits` are those that `forward` returned, grad_y (T, O) has the dtype of x.
        Rows that no token visits get zeros (arXiv 2311.10770: decisions carry no gradient).
        """


@runtime_checkable
class QuantizedKernel(Kernel, Protocol):
    """A kernel that computes with quantized weights, too."""

    def forward_quantized(
        self, x: Tensor, weights: Weights, spec: TreeSpec
    ) -> tuple[Tensor, Tensor]:
        """Compute y (T, O) in the dtype of x, float32 or bfloat16, and leaf (T, K) int64."""


@dataclass(frozen=True, slots=True)
class Prepared:
    """The fast path of a layer, for inference: its sizes and weights were looked up once.

    It bypasses the operator and records nothing for gradients. Weights may change in place.

    Attributes:
        kernel: name of the kernel that prepared it.
        dtype: that x must have.
        call: the function x (..., H) -> y (..., O). It returns None, and the operator must be
            called, for x that is not contiguous, of another dtype, size or kind than prepared for,
            where something records the call, or where the weights have moved. A compiler must not
            see it.
        holds: the function () -> whether the weights are where they were.
    """

    kernel: str
    dtype: torch.dtype
    call: Callable[[Tensor], Tensor | None]
    holds: Callable[[], bool]


@runtime_checkable
class PreparingKernel(Kernel, Protocol):
    """A kernel with a fast path that bypasses the operator, for repeated inference."""

    def place_weights(self, *weights: Tensor) -> None:
        """Move weights, in place, to memory that the kernel reads faster; leave those it cannot."""

    def prepare(
        self, dtype: torch.dtype, holder: dict[str, Any], spec: TreeSpec
    ) -> Prepared | None:
        """Return the fast path for x of a dtype, or None where these weights have none.

        `holder` has the weights by the names of `Weights`, and biases of leaves as `b_out`; it is
        looked at again in every call.
        """
