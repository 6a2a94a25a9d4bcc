"""What a conversion is asked for."""

from dataclasses import dataclass
from typing import Any

from ultrafastbert.distill.end_to_end import EndToEndConfig
from ultrafastbert.models.bert.configuration import parse_ffn

# Tokens to train on, over those to measure on: more than documents, as those differ in length.
VALIDATION_SHARE = 25


def tokens_of(part: str, n_tokens: int) -> int:
    """Return how many tokens a part of the text gives: `train` so many, `validation` a share."""
    return n_tokens if part == "train" else n_tokens // VALIDATION_SHARE


@dataclass(frozen=True)
class ConvertConfig:
    """What a dense encoder becomes, and how.

    Attributes:
        ffn: what replaces FF layers: KxD or KxDxL, with +WIDTH beside a dense block.
        layer_ids: the layers to convert, from 0; all by default.
        ff_location: where FF layers sit, such as `encoder.layer.*.intermediate,output.dense`, see
            `architectures.FeedForwardLocation`; found by itself in many architectures.
        tokens: how much of the text is run through the model, to train on; a twenty-fifth of it
            more is held out, to measure on.
        max_length: tokens of a text, or a pair, that are read.
        steps, batch_tokens: of each layer's training, see `RegressionConfig`.
        sequential_steps: of sequential distillation, for each layer, see `sequential`.
        end_to_end_steps: of the whole model's training afterwards, see `EndToEndConfig`.
        end_to_end_tokens: of the text that it learns from, again and again; less text is enough.
        controls: whether the control models are trained as well.
        ablations: whether trees are also trained, layer by layer only, with one choice undone: with
            hyperplanes that stay at the principal splits, and with ones that start at random.
        dense_widths: of further dense layers, trained layer by layer only: they show how wide a
            dense layer has the FVU of the tree.
        tasks: of GLUE, to fine-tune models on afterwards.
        start: folder of a converted model to go on from, of the same original and trees: it is
            trained end to end only, without controls. A dense block beside its trees may be new.
        end_to_end_batch_tokens: of a step of that training; by default those of `EndToEndConfig`.
        whole_lines: whether each line is a text as it is; by default, paragraphs are cut into short
            texts and pairs, see `data.sampling.pieces`.
        seeds: of everything drawn; all is done once for each, and models of the first are saved.

    Raises:
        ValueError: for values that do not fit; the message names them.
    """

    ffn: str = "1x6x40"
    layer_ids: tuple[int, ...] | None = None
    ff_location: str | None = None
    tokens: int = 500_000
    max_length: int = 128
    steps: int = 3000
    batch_tokens: int = 2048
    sequential_steps: int = 500
    end_to_end_steps: int = EndToEndConfig.steps
    end_to_end_tokens: int = 3_000_000
    controls: bool = True
    ablations: bool = False
    dense_widths: tuple[int, ...] = ()
    tasks: tuple[str, ...] = ()
    seeds: tuple[int, ...] = (0,)
    # None rather than the value, so that runs of earlier versions can be resumed.
    start: str | None = None
    end_to_end_batch_tokens: int | None = None
    whole_lines: bool | None = None

    def __post_init__(self) -> None:
        if parse_ffn(self.ffn)["ffn_type"] != "fff":
            raise ValueError(f"ffn={self.ffn!r} must be a fast feedforward layer, such as 1x7x8")
        least = {"tokens": VALIDATION_SHARE, "end_to_end_tokens": VALIDATION_SHARE}
        least |= dict.fromkeys(("max_length", "steps", "batch_tokens"), 1)
        least |= dict.fromkeys(("sequential_steps", "end_to_end_steps"), 0)
        check_least(self, least)
        if any(width < 1 for width in self.dense_widths):
            raise ValueError(f"dense_widths={self.dense_widths} must be at least 1")
        if self.end_to_end_batch_tokens is not None:
            check_least(self, {"end_to_end_batch_tokens": 1})
        if self.start is not None and (self.controls or self.ablations or self.dense_widths):
            raise ValueError(
                f"start={self.start!r} goes on with one model; turn controls and ablations off, "
                "and give no dense_widths"
            )
        if not self.seeds:
            raise ValueError("seeds is empty; give at least one")


def check_least(config: Any, least: dict[str, int]) -> None:
    """Raise ValueError where a setting is below its least value."""
    for name, value in least.items():
        if getattr(config, name) < value:
            raise ValueError(f"{name}={getattr(config, name)} must be at least {value}")
