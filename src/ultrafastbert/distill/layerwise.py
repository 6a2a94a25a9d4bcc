"""Layer-wise distillation: a block learns what the FF block it replaces made of the same inputs."""

from dataclasses import asdict, dataclass

import torch
from torch import Tensor, nn

from ultrafastbert.distill.routing import HyperplaneTraining
from ultrafastbert.distill.scaling import measure, sample, token_weights
from ultrafastbert.distill.schedule import learning_rate_share
from ultrafastbert.distill.splits import set_hyperplanes
from ultrafastbert.fff.layer import FastFeedForward
from ultrafastbert.models.converted.feedforward import ConvertedBlock
from ultrafastbert.models.converted.hooks import Captured
from ultrafastbert.models.precision import autocast
from ultrafastbert.rows import Row
from ultrafastbert.runs.status import Count

EVALUATION_TOKENS = 8192
# Hyperplanes learn after this share of the steps: leaves that are all alike say nothing of where a
# token should go. So many tokens of a batch are enough, which halves the cost.
FIRST_ROUTING = 0.1
ROUTING_TOKENS = 384


@dataclass(frozen=True)
class RegressionConfig:
    """How a block is trained.

    Attributes:
        steps, batch_tokens: updates, and tokens drawn for each.
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
    block: ConvertedBlock,
    train: Captured,
    config: RegressionConfig,
    on_step: Count = lambda step: None,
    norm: nn.LayerNorm | None = None,
    is_new: bool = True,
) -> None:
    """Train a block, in place, to map the inputs of an FF block to its outputs.

    It learns in float32. One that is not new goes on from its weights. An error counts as much as
    in the output of `norm`, which reads the sum of both, if there is one: see `scaling`.

    Neurons learn by the exact sparse gradient, nodes what they add to the output. The hyperplanes
    do not: the gradient of the output moves them with no regard to the tokens that change sides.
    They learn by themselves, from what other decisions would have cost, once leaves differ.
    """
    block.float()  # whatever the default dtype is
    generator = torch.Generator().manual_seed(config.seed)
    x, y = sample(train, generator)
    scaling = measure(x, y, norm)
    if is_new or block.inner is None:  # without neurons, the mean is all there is to learn
        _initialize(block, scaling.apply(x, y)[0], config)
    else:
        scaling.unfold_(block)
    optimizer = torch.optim.AdamW(
        block.parameters(), config.learning_rate, betas=(0.9, 0.99), weight_decay=0.0, fused=True
    )
    hyperplanes = _hyperplanes(block, config)
    for step in range(config.steps if block.inner else 0):  # the mean, alone, is there already
        rate = learning_rate_share(step, config.steps)
        index = torch.randint(len(train.x), (config.batch_tokens,), generator=generator)
        x, y = train.x[index].float(), train.y[index].float()
        weights = token_weights(x, y, norm)
        x, y = scaling.apply(x, y)
        residual = y - _predict(block, x)
        loss = (weights * residual).square().mean()
        loss.backward()
        block.hold_hyperplanes()
        _update(optimizer, config.learning_rate * rate)
        if hyperplanes and step >= config.steps * FIRST_ROUTING:
            part = slice(ROUTING_TOKENS)
            hyperplanes.step(x[part], residual[part].detach(), weights[part].square(), rate)
        on_step(step + 1)
    scaling.fold_(block)


def _hyperplanes(block: ConvertedBlock, config: RegressionConfig) -> HyperplaneTraining | None:
    inner = block.inner
    if not isinstance(inner, FastFeedForward) or not inner.depth:
        return None
    if not config.routing_learning_rate:
        return None
    return HyperplaneTraining(inner, config.routing_learning_rate)


@torch.no_grad()
def unexplained(block: ConvertedBlock, data: Captured, norm: nn.LayerNorm | None = None) -> float:
    """Return the share of the outputs' variance that a block leaves unexplained: 0 is perfect.

    With `norm`, the same behind it: its error over that with the outputs' mean.
    """
    mean = torch.zeros(data.y.shape[1], dtype=torch.float32)
    for y in data.y.split(EVALUATION_TOKENS):
        mean += y.float().sum(0) / len(data.y)
    error = variance = 0.0
    for part in zip(*(part.split(EVALUATION_TOKENS) for part in data), strict=True):
        x, y = (values.float() for values in part)
        found, mean_output, wanted = (
            norm(x + output) if norm else output for output in (_predict(block, x), mean, y)
        )
        error += (found - wanted).square().sum().item()
        variance += (mean_output - wanted).square().sum().item()
    return error / variance if variance else 0.0


def layer_row(
    model: str,
    layer: int,
    block: ConvertedBlock,
    config: RegressionConfig,
    validation: Captured,
    norm: nn.LayerNorm | None,
) -> Row:
    """Return the result row of a trained block, the contestant `model` for a layer."""
    behind = {"unexplained_after_norm": unexplained(block, validation, norm)} if norm else {}
    return {
        "kind": "convert_layer",
        "model": model,
        "layer": layer,
        "ffn": block.ffn,
        "n_active": block.n_active,
        "unexplained": unexplained(block, validation),
        **behind,
        **asdict(config),
    }


def _update(optimizer: torch.optim.Optimizer, learning_rate: float) -> None:
    optimizer.param_groups[0]["lr"] = learning_rate
    optimizer.step()
    optimizer.zero_grad()


def _predict(block: ConvertedBlock, x: Tensor) -> Tensor:
    """Return a block's output in float32; dense layers compute in bfloat16 where it is fast."""
    dense = not isinstance(block.inner, FastFeedForward)
    with autocast(dense):
        return block(x).float()


def _initialize(block: ConvertedBlock, x: Tensor, config: RegressionConfig) -> None:
    """Draw the weights of a block for scaled inputs, of which x (T, H) is a sample.

    It starts from the mean output: zero output weights end at a smaller error than random ones.
    """
    torch.manual_seed(config.seed)
    nn.init.zeros_(block.bias)
    inner = block.inner
    if isinstance(inner, FastFeedForward):
        inner.reset_parameters()
        nn.init.zeros_(inner.w_out)
        set_hyperplanes(inner, x, config.split, config.seed)
    elif inner is not None:
        nn.init.normal_(inner.dense_in.weight, std=x.shape[1] ** -0.5)
        nn.init.zeros_(inner.dense_in.bias)
        nn.init.zeros_(inner.dense_out.weight)
