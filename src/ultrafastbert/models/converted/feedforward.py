"""What stands in the place of an FF layer: a fast feedforward layer or a control, and a bias."""

from typing import Any

import torch
from torch import Tensor, nn

from ultrafastbert.fff import tree
from ultrafastbert.fff.dense import FeedForward
from ultrafastbert.fff.layer import FastFeedForward
from ultrafastbert.models.bert.configuration import parse_ffn


class ConvertedFeedForward(nn.Module):
    """FF layer of a converted model: `inner(x) + bias`, (..., H) -> (..., H).

    The bias is the mean output of the FF layer that was there: fast ones have no bias.

    Args:
        hidden_size: H.
        ffn: `KxD` or `KxDxL` for a fast feedforward layer, with `+WIDTH` beside a dense block,
            `ff:WIDTH` dense, `none` the bias alone.
        weight_dtype, exact_routing: smaller weights of a fast feedforward layer, for inference, see
            `ultrafastbert.FastFeedForward.quantize_`.

    Raises:
        ValueError: for another name.
    """

    def __init__(
        self,
        hidden_size: int,
        ffn: str,
        weight_dtype: str | None = None,
        exact_routing: bool = False,
    ):
        super().__init__()
        self.ffn = ffn
        self.inner = _inner(hidden_size, parse_ffn(ffn))
        if weight_dtype and isinstance(self.inner, FastFeedForward):
            self.inner.quantize_(weight_dtype, exact_routing)
        self.bias = nn.Parameter(torch.zeros(hidden_size))

    def forward(self, x: Tensor) -> Tensor:
        """Map (..., H) to (..., H)."""
        return self.bias.expand_as(x) if self.inner is None else self.inner(x) + self.bias

    def hold_hyperplanes(self) -> None:
        """Take the gradient of a tree's hyperplanes away, ahead of a step of the optimizer.

        It comes from what nodes add to the output, with no regard to the tokens that change sides.
        """
        if isinstance(self.inner, FastFeedForward):
            nodes = slice(tree.n_nodes(self.inner.depth))
            for parameter in (self.inner.w_in, self.inner.b_in):
                if parameter.grad is not None:
                    parameter.grad[:, nodes] = 0.0

    @property
    def n_active(self) -> int:
        """Neurons that one token uses."""
        if isinstance(self.inner, FastFeedForward):
            return self.inner.n_active
        return self.inner.intermediate_size if self.inner is not None else 0


def _inner(hidden_size: int, fields: dict[str, Any]) -> FastFeedForward | FeedForward | None:
    if fields["ffn_type"] == "none":
        return None
    if fields["ffn_type"] == "ff":
        return FeedForward(hidden_size, fields["intermediate_size"], bias=True)
    if fields["ffn_type"] == "glu":
        raise ValueError(
            "an FF layer is not replaced by a gated one; write KxDxL, ff:WIDTH or none"
        )
    return FastFeedForward(
        hidden_size,
        fields["tree_depth"],
        fields["n_trees"],
        fields["leaf_size"],
        shared_size=fields.get("shared_size", 0),
    )
