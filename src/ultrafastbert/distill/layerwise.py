"""Layer-wise distillation: an FF layer learns the original's outputs on the same inputs."""

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import TypeVar

import torch
from torch import Tensor, nn

from ultrafastbert.distill.routing import HyperplaneTraining
from ultrafastbert.distill.scaling import Scaling, measure, sample, token_weights
from ultrafastbert.distill.schedule import learning_rate_share
from ultrafastbert.distill.splits import set_hyperplanes
from ultrafastbert.fff.layer import FastFeedForward
from ultrafastbert.models.converted.feedforward import ConvertedFeedForward
from ultrafastbert.models.converted.hooks import Captured
from ultrafastbert.models.precision import autocast
from ultrafastbert.rows.conversion import ConvertLayerRow, ConvertSequentialRow
from ultrafastbert.runs.status import Count, count_nothing

EVALUATION_TOKENS = 8192
# Hyperplanes learn after this share of the steps: leaves that are all alike say nothing of where a
# token should go. So many tokens of a batch are enough, which halves the cost.
FIRST_ROUTING = 0.1
ROUTING_TOKENS = 384

Fit = TypeVar("Fit", ConvertLayerRow, ConvertSequentialRow)


@dataclass(frozen=True)
class RegressionConfig:
    """How an FF layer is trained.

    Attributes:
        steps, batch_tokens: training steps, and tokens drawn for each.
        learning_rate: at the peak; it rises for 50 steps and falls along a cosine.
        split: where hyperplanes of trees come from, see `splits.set_hyperplanes`.
        routing_learning_rate: of the hyperplanes, see `routing.HyperplaneTraining`; at 0 they
            stay what they are at the start.
        seed: of weights and of the tokens drawn.
    """

    steps: int = 3000
    batch_tokens: int = 2048
    learning_rate: float = 4e-3
    split: str = "principal"
    routing_learning_rate: float = 1.2e-3
    seed: int = 0


def regress(
    feedforward: ConvertedFeedForward,
    train: Captured,
    config: RegressionConfig,
    on_step: Count = count_nothing,
    norm: nn.LayerNorm | None = None,
    is_new: bool = True,
) -> None:
    """Train an FF layer, in place, to map the inputs of the original one to its outputs.

    It learns in float32. One that is not new goes on from its weights. If a `norm` reads the sum of
    inputs and outputs, an error counts as much as in the output of the norm: see `scaling`.

    Neurons learn by the exact sparse gradient, nodes what they add to the output. The hyperplanes
    do not: the gradient of the output moves them with no regard to the tokens that change sides.
    They learn by themselves, from what other decisions would have cost, once leaves differ.
    """
    feedforward.float()  # whatever the default dtype is
    generator = torch.Generator().manual_seed(config.seed)
    scaling = _prepare(feedforward, train, config, generator, norm, is_new)
    optimizer = torch.optim.AdamW(
        feedforward.parameters(),
        config.learning_rate,
        betas=(0.9, 0.99),
        weight_decay=0.0,
        fused=True,
    )
    hyperplanes = _hyperplanes(feedforward, config)
    n_steps = config.steps if feedforward.inner else 0  # the mean, alone, is there already
    for step, (x, y, weights) in enumerate(_batches(train, n_steps, config, generator, norm)):
        rate = learning_rate_share(step, config.steps)
        x, y = scaling.apply(x, y)
        residual = y - _predict(feedforward, x)
        loss = (weights * residual).square().mean()
        loss.backward()
        feedforward.hold_hyperplanes()
        _take_step(optimizer, config.learning_rate * rate)
        if hyperplanes and step >= config.steps * FIRST_ROUTING:
            part = slice(ROUTING_TOKENS)
            hyperplanes.step(x[part], residual[part].detach(), weights[part].square(), rate)
        on_step(step + 1, f"loss {loss.item():.3f}")
    scaling.fold_(feedforward)


def _prepare(
    feedforward: ConvertedFeedForward,
    train: Captured,
    config: RegressionConfig,
    generator: torch.Generator,
    norm: nn.LayerNorm | None,
    is_new: bool,
) -> Scaling:
    """Give an FF layer its weights for scaled inputs and outputs; return the scaling."""
    x, y = sample(train, generator)
    scaling = measure(x, y, norm)
    if is_new or feedforward.inner is None:  # without neurons, the mean is all there is to learn
        _initialize(feedforward, scaling.apply(x, y)[0], config)
    else:
        scaling.unfold_(feedforward)
    return scaling


def _batches(
    train: Captured,
    n_steps: int,
    config: RegressionConfig,
    generator: torch.Generator,
    norm: nn.LayerNorm | None,
) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
    """Return inputs and outputs (T, H) of random tokens with the weights of their errors (T, 1)."""
    for _ in range(n_steps):
        index = torch.randint(len(train.x), (config.batch_tokens,), generator=generator)
        x, y = train.x[index].float(), train.y[index].float()
        yield x, y, token_weights(x, y, norm)


def _hyperplanes(
    feedforward: ConvertedFeedForward, config: RegressionConfig
) -> HyperplaneTraining | None:
    inner = feedforward.inner
    if not isinstance(inner, FastFeedForward) or not inner.depth:
        return None
    if not config.routing_learning_rate:
        return None
    return HyperplaneTraining(inner, config.routing_learning_rate)


@torch.no_grad()
def fvu(
    feedforward: ConvertedFeedForward, data: Captured, norm: nn.LayerNorm | None = None
) -> float:
    """Return the fraction of variance unexplained (FVU) of the outputs: 0 is perfect.

    It is the squared error over that of the outputs' mean. With `norm`, both are measured behind
    it.
    """
    mean = torch.zeros(data.y.shape[1], dtype=torch.float32)
    for y in data.y.split(EVALUATION_TOKENS):
        mean += y.float().sum(0) / len(data.y)
    error = variance = 0.0
    for part in zip(*(part.split(EVALUATION_TOKENS) for part in data), strict=True):
        x, y = (values.float() for values in part)
        found, mean_output, wanted = (
            norm(x + output) if norm else output for output in (_predict(feedforward, x), mean, y)
        )
        error += (found - wanted).square().sum().item()
        variance += (mean_output - wanted).square().sum().item()
    return error / variance if variance else 0.0


def layer_row(
    kind: type[Fit],
    model: str,
    layer_id: int,
    feedforward: ConvertedFeedForward,
    config: RegressionConfig,
    validation: Captured,
    norm: nn.LayerNorm | None,
) -> Fit:
    """Return the result row of a trained FF layer, that of the candidate `model`."""
    return kind(
        model=model,
        layer=layer_id,
        ffn=feedforward.ffn,
        n_active=feedforward.n_active,
        fvu=fvu(feedforward, validation),
        fvu_after_norm=fvu(feedforward, validation, norm) if norm else None,
        **asdict(config),
    )


def _take_step(optimizer: torch.optim.Optimizer, learning_rate: float) -> None:
    optimizer.param_groups[0]["lr"] = learning_rate
    optimizer.step()
    optimizer.zero_grad()


def _predict(feedforward: ConvertedFeedForward, x: Tensor) -> Tensor:
    """Return outputs in float32; dense layers compute in bfloat16 where it is fast."""
    dense = not isinstance(feedforward.inner, FastFeedForward)
    with autocast(dense):
        return feedforward(x).float()


def _initialize(feedforward: ConvertedFeedForward, x: Tensor, config: RegressionConfig) -> None:
    """Draw the weights of an FF layer for scaled inputs, of which x (T, H) is a sample.

    It starts from the mean output: zero output weights end at a smaller error than random ones.
    """
    torch.manual_seed(config.seed)
    nn.init.zeros_(feedforward.bias)
    inner = feedforward.inner
    if isinstance(inner, FastFeedForward):
        inner.reset_parameters()
        nn.init.zeros_(inner.w_out)
        set_hyperplanes(inner, x, config.split, config.seed)
    dense = inner.shared if isinstance(inner, FastFeedForward) else inner
    if dense is not None:
        nn.init.normal_(dense.dense_in.weight, std=x.shape[1] ** -0.5)
        nn.init.zeros_(dense.dense_in.bias)
        nn.init.zeros_(dense.dense_out.weight)
