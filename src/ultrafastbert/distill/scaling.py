"""Mean and scale of what an FF layer reads and writes: layers learn on scaled data.

Where a layer norm reads the sum of an FF layer's input and output, as in BERT, an error counts as
much as it does there: in each token over the standard deviation of the sum, in each component by
the gain. Some tokens, such as [SEP], have a component a hundred times larger than all others, which
the norm takes back; without these weights it would have nearly all of the error.
"""

from typing import NamedTuple

import torch
from torch import Tensor, nn

from ultrafastbert.fff.dense import FeedForward
from ultrafastbert.fff.layer import FastFeedForward
from ultrafastbert.models.converted.feedforward import ConvertedFeedForward
from ultrafastbert.models.converted.hooks import Captured

# Tokens that the mean and the scale are measured on.
SAMPLE_TOKENS = 100_000
# Components whose gain is smaller, over the median, count as if it were so: the norm itself reads
# them, and what they are divided by must not be zero.
SMALLEST_GAIN = 0.1


class Scaling(NamedTuple):
    """Means (H) of an FF layer's inputs and outputs, and their scales: a number, and one or (H)."""

    x_mean: Tensor
    x_scale: Tensor
    y_mean: Tensor
    y_scale: Tensor

    def apply(self, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        """Return inputs and outputs (T, H) in float32, centred.

        The mean square of inputs is one, and that of outputs with the weights of their tokens.
        """
        x = (x.float() - self.x_mean) / self.x_scale
        return x, (y.float() - self.y_mean) / self.y_scale

    def fold_(self, feedforward: ConvertedFeedForward) -> None:
        """Change a layer that maps scaled inputs to scaled outputs into one for those as they are.

        act(w . (x - m) / s + b) v t + c, with the same neurons: w / s, b - w . m / s, v t.
        """
        with torch.no_grad():
            for w_in, b_in, w_out in _weights(feedforward):
                w_in.div_(self.x_scale)
                b_in.sub_(w_in @ self.x_mean)
                w_out.mul_(self.y_scale)
            feedforward.bias.mul_(self.y_scale).add_(self.y_mean)

    def unfold_(self, feedforward: ConvertedFeedForward) -> None:
        """Undo `fold_`."""
        with torch.no_grad():
            for w_in, b_in, w_out in _weights(feedforward):
                b_in.add_(w_in @ self.x_mean)
                w_in.mul_(self.x_scale)
                w_out.div_(self.y_scale)
            feedforward.bias.sub_(self.y_mean).div_(self.y_scale)


def sample(captured: Captured, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Return inputs and outputs of tokens drawn at random, in float32."""
    index = torch.randint(len(captured.x), (SAMPLE_TOKENS,), generator=generator)
    return captured.x[index].float(), captured.y[index].float()


def measure(x: Tensor, y: Tensor, norm: nn.LayerNorm | None = None) -> Scaling:
    """Return the scaling of inputs and outputs, (T, H) each; `norm` reads their sum."""
    weights, gain = token_weights(x, y, norm), _gain(norm, y)
    x_mean, y_mean = x.mean(0), y.mean(0)
    y_scale = _scale(weights * gain * (y - y_mean)) / gain
    return Scaling(x_mean, _scale(x - x_mean), y_mean, y_scale)


def token_weights(x: Tensor, y: Tensor, norm: nn.LayerNorm | None) -> Tensor:
    """Return what a norm multiplies each token's error by, but for its gain: (T, H) x 2 -> (T, 1).

    Ones without a norm.
    """
    if norm is None:
        return x.new_ones(len(x), 1)
    return (x + y).var(1, correction=0, keepdim=True).add(norm.eps).rsqrt()


def _gain(norm: nn.LayerNorm | None, y: Tensor) -> Tensor:
    if norm is None or norm.weight is None:
        return y.new_ones(y.shape[1])
    gain = norm.weight.detach().abs()
    return gain.clamp(min=SMALLEST_GAIN * gain.median().item() or 1.0)


def _scale(centred: Tensor) -> Tensor:
    # An FF layer may write nothing at all, as untrained ones do; its scale is one then.
    return centred.square().mean().sqrt().clamp(min=torch.finfo(torch.float32).tiny)


def _weights(feedforward: ConvertedFeedForward) -> list[tuple[Tensor, Tensor, Tensor]]:
    """Return input weights, input biases and output weights, (..., H), of an FF layer's parts."""
    inner = feedforward.inner
    if inner is None:
        return []
    if isinstance(inner, FastFeedForward):
        shared = [] if inner.shared is None else [_dense(inner.shared)]
        return [(inner.w_in, inner.b_in, inner.w_out), *shared]
    return [_dense(inner)]


def _dense(layer: FeedForward) -> tuple[Tensor, Tensor, Tensor]:
    return layer.dense_in.weight, layer.dense_in.bias, layer.dense_out.weight.T
