"""Mean and scale of what a block reads and writes: blocks learn on scaled data."""

from typing import NamedTuple

import torch
from torch import Tensor

from ultrafastbert.convert.teacher.taps import Captured
from ultrafastbert.layers import FastFeedForward
from ultrafastbert.models.converted_block import ConvertedBlock

# Tokens that the mean and the scale are measured on.
SAMPLE_TOKENS = 100_000


class Scaling(NamedTuple):
    """Means (H) and scales (a number each) of a block's inputs and outputs."""

    x_mean: Tensor
    x_scale: Tensor
    y_mean: Tensor
    y_scale: Tensor

    def apply(self, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        """Return inputs and outputs (T, H) in float32, centred, of mean square one."""
        x = (x.float() - self.x_mean) / self.x_scale
        return x, (y.float() - self.y_mean) / self.y_scale

    def fold_(self, block: ConvertedBlock) -> None:
        """Change a block that maps scaled inputs to scaled outputs into one for those as they are.

        act(w . (x - m) / s + b) v t + c, with the same neurons: w / s, b - w . m / s, v t.
        """
        with torch.no_grad():
            for w_in, b_in, w_out in _weights(block):
                w_in.div_(self.x_scale)
                b_in.sub_(w_in @ self.x_mean)
                w_out.mul_(self.y_scale)
            block.bias.mul_(self.y_scale).add_(self.y_mean)


def sample(captured: Captured, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Return inputs and outputs of tokens drawn at random, in float32."""
    index = torch.randint(len(captured.x), (SAMPLE_TOKENS,), generator=generator)
    return captured.x[index].float(), captured.y[index].float()


def measure(x: Tensor, y: Tensor) -> Scaling:
    """Return the scaling of inputs and outputs, (T, H) each."""
    x_mean, y_mean = x.mean(0), y.mean(0)
    return Scaling(x_mean, _scale(x - x_mean), y_mean, _scale(y - y_mean))


def _scale(centred: Tensor) -> Tensor:
    # A block may write nothing at all, as untrained ones do; its scale is one then.
    return centred.square().mean().sqrt().clamp(min=torch.finfo(torch.float32).tiny)


def _weights(block: ConvertedBlock) -> list[tuple[Tensor, Tensor, Tensor]]:
    """Return the input weights, input biases and output weights of a block's parts."""
    inner = block.inner
    if inner is None:
        return []
    if isinstance(inner, FastFeedForward):
        return [(inner.w_in, inner.b_in, inner.w_out)]
    return [(inner.dense_in.weight, inner.dense_in.bias, inner.dense_out.weight)]
