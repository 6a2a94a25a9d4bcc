"""What a conversion trains: the layer that is wanted, and the controls it is measured against."""

from dataclasses import dataclass, replace
from typing import NamedTuple

from ultrafastbert.distill.end_to_end import EndToEndConfig
from ultrafastbert.distill.layerwise import RegressionConfig
from ultrafastbert.models.bert.configuration import parse_ffn
from ultrafastbert.models.converted.feedforward import ConvertedBlock

# Dense layers as narrow as a path learn best at this one, trees at theirs: the best of 4e-3, 8e-3,
# 16e-3 and 32e-3 for each.
DENSE_LEARNING_RATE = 1.6e-2
# Tokens to train on, over those to measure on: more than documents, as those differ in length.
VALIDATION_SHARE = 25


def tokens_of(part: str, n_tokens: int) -> int:
    """Return how many tokens a part of the text gives: `train` so many, `validation` a share."""
    return n_tokens if part == "train" else n_tokens // VALIDATION_SHARE


@dataclass(frozen=True)
class ConvertConfig:
    """What a dense encoder becomes, and how.

    Attributes:
        ffn: what replaces FF blocks: KxD or KxDxL.
        layers: numbers of the layers to convert, from 0; all by default.
        block: where the FF block sits, such as `encoder.layer.*.intermediate,output.dense`, see
            `models.architectures.Block`; found by itself in many architectures.
        tokens: how much of the text is run through the model, to train on; a twenty-fifth of it
            more is held out, to measure on.
        max_length: tokens of a text, or a pair, that are read.
        steps, batch_tokens: of each layer's training, see `RegressionConfig`.
        in_sequence_steps: of each block's further training in its model, see `in_sequence`.
        end_to_end_steps: of the whole model's training afterwards, see `EndToEndConfig`.
        end_to_end_tokens: of the text that it learns from, again and again; less text is enough.
        controls: whether the controls are made as well.
        ablations: whether trees are also trained, layer by layer only, with one choice undone: with
            hyperplanes that stay at the principal splits, and with ones that start at random.
        dense_widths: of further dense layers, trained layer by layer only: they tell how wide a
            dense layer has the error of the tree.
        tasks: of GLUE, to fine-tune models on afterwards.
        seeds: of everything drawn; all is done once for each, and models of the first are saved.

    Raises:
        ValueError: for values that do not fit; the message names them.
    """

    ffn: str = "1x6x40"
    layers: tuple[int, ...] | None = None
    block: str | None = None
    tokens: int = 500_000
    max_length: int = 128
    steps: int = 3000
    batch_tokens: int = 2048
    in_sequence_steps: int = 500
    end_to_end_steps: int = EndToEndConfig.steps
    end_to_end_tokens: int = 3_000_000
    controls: bool = True
    ablations: bool = False
    dense_widths: tuple[int, ...] = ()
    tasks: tuple[str, ...] = ()
    seeds: tuple[int, ...] = (0,)

    def __post_init__(self) -> None:
        if parse_ffn(self.ffn)["ffn_type"] != "fff":
            raise ValueError(f"ffn={self.ffn!r} must be a fast feedforward layer, such as 1x7x8")
        least = {"tokens": VALIDATION_SHARE, "end_to_end_tokens": VALIDATION_SHARE}
        least |= dict.fromkeys(("max_length", "steps", "batch_tokens"), 1)
        least |= dict.fromkeys(("in_sequence_steps", "end_to_end_steps"), 0)
        for name, number in least.items():
            if getattr(self, name) < number:
                raise ValueError(f"{name}={getattr(self, name)} must be at least {number}")
        if any(width < 1 for width in self.dense_widths):
            raise ValueError(f"dense_widths={self.dense_widths} must be at least 1")
        if not self.seeds:
            raise ValueError("seeds is empty; give at least one")


class Contestant(NamedTuple):
    """What replaces FF blocks, and how it is trained."""

    ffn: str
    training: RegressionConfig
    is_model: bool = True  # or single layers only


def training_of(
    ffn: str,
    steps: int = RegressionConfig.steps,
    batch_tokens: int = RegressionConfig.batch_tokens,
    seed: int = 0,
) -> RegressionConfig:
    """Return how a block is trained: a dense layer at the learning rate that is best for it.

    Raises ValueError for an `ffn` that is none.
    """
    training = RegressionConfig(steps, batch_tokens, seed=seed)
    is_dense = parse_ffn(ffn)["ffn_type"] == "ff"
    return replace(training, learning_rate=DENSE_LEARNING_RATE) if is_dense else training


def contestants(
    config: ConvertConfig, hidden_size: int, seed: int, equal_time_width: int | None
) -> dict[str, Contestant]:
    """Return what is trained with a seed, by name: the layer wanted, and its controls.

    `equal_time_width` is how wide a dense layer takes the time of the layer wanted.
    """

    def plain(ffn: str, is_model: bool = True) -> Contestant:
        training = training_of(ffn, config.steps, config.batch_tokens, seed)
        return Contestant(ffn, training, is_model)

    training = training_of(config.ffn, config.steps, config.batch_tokens, seed)
    found = {"fff": plain(config.ffn)}
    if config.controls:
        n_active = ConvertedBlock(hidden_size, config.ffn).n_active
        fixed = replace(training, split="random", routing_learning_rate=0.0)
        found["random"] = Contestant(config.ffn, fixed)
        found["ff_active"] = plain(f"ff:{n_active}")
        found["ff_time"] = plain(f"ff:{equal_time_width}")
        found["none"] = plain("none")
    if config.ablations:
        held = replace(training, routing_learning_rate=0.0)
        found["fff_held"] = Contestant(config.ffn, held, is_model=False)
        found["fff_random_start"] = Contestant(
            config.ffn, replace(training, split="random"), is_model=False
        )
    for width in config.dense_widths:
        found[f"ff_{width}"] = plain(f"ff:{width}", is_model=False)
    return found
