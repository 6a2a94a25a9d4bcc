"""What a conversion trains: the layer that is wanted, and the controls it is measured against."""

from dataclasses import replace
from typing import NamedTuple

from ultrafastbert.distill.config import ConvertConfig
from ultrafastbert.distill.layerwise import RegressionConfig
from ultrafastbert.models.bert.configuration import parse_ffn
from ultrafastbert.models.converted.feedforward import ConvertedFeedForward

# Dense layers as narrow as a path learn best at this one, trees at theirs: the best of 4e-3, 8e-3,
# 16e-3 and 32e-3 for each.
DENSE_LEARNING_RATE = 1.6e-2


class Candidate(NamedTuple):
    """What may replace FF layers, and how it is trained."""

    ffn: str
    training: RegressionConfig
    is_model: bool = True  # or single layers only


def training_of(
    ffn: str,
    steps: int = RegressionConfig.steps,
    batch_tokens: int = RegressionConfig.batch_tokens,
    seed: int = 0,
) -> RegressionConfig:
    """Return how an FF layer is trained: a dense one at the learning rate that is best for it.

    Raises ValueError for an `ffn` that is none.
    """
    training = RegressionConfig(steps, batch_tokens, seed=seed)
    is_dense = parse_ffn(ffn)["ffn_type"] == "ff"
    return replace(training, learning_rate=DENSE_LEARNING_RATE) if is_dense else training


def candidates(
    config: ConvertConfig, hidden_size: int, seed: int, equal_latency_width: int | None
) -> dict[str, Candidate]:
    """Return what is trained with a seed, by name: the layer wanted, its controls and ablations.

    `equal_latency_width` is how wide a dense layer has the latency of the layer wanted.
    """
    found = {"fff": _plain(config, config.ffn, seed)}
    if config.controls:
        n_active = ConvertedFeedForward(hidden_size, config.ffn).n_active
        found["random"] = _tree(config, seed, split="random", routing_learning_rate=0.0)
        found["ff_active"] = _plain(config, f"ff:{n_active}", seed)
        found["ff_equal_latency"] = _plain(config, f"ff:{equal_latency_width}", seed)
        found["none"] = _plain(config, "none", seed)
    if config.ablations:
        held = _tree(config, seed, routing_learning_rate=0.0)
        random_start = _tree(config, seed, split="random")
        found["fff_held"] = held._replace(is_model=False)
        found["fff_random_start"] = random_start._replace(is_model=False)
    for width in config.dense_widths:
        found[f"ff_{width}"] = _plain(config, f"ff:{width}", seed)._replace(is_model=False)
    return found


def _plain(config: ConvertConfig, ffn: str, seed: int) -> Candidate:
    return Candidate(ffn, training_of(ffn, config.steps, config.batch_tokens, seed))


def _tree(config: ConvertConfig, seed: int, **changes: object) -> Candidate:
    """Return the tree that is wanted, trained in another way."""
    plain = _plain(config, config.ffn, seed)
    return plain._replace(training=replace(plain.training, **changes))  # type: ignore[arg-type]
