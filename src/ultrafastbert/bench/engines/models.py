"""Models to compare: encoders of well-known sizes, or a converted model beside its original."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import torch
from torch import nn
from transformers import (
    BertConfig,
    BertModel,
    DistilBertConfig,
    DistilBertModel,
    MPNetConfig,
    MPNetModel,
    PreTrainedModel,
)

from ultrafastbert.bench.model import variants as bert_variants
from ultrafastbert.fff.layer import FastFeedForward
from ultrafastbert.inference.bundled import bundled_model
from ultrafastbert.models import UltraFastBertConfig, UltraFastBertModel
from ultrafastbert.models.converted.architectures import layers_of, location_of
from ultrafastbert.models.converted.feedforward import ConvertedFeedForward
from ultrafastbert.models.converted.folder import load_dense
from ultrafastbert.models.converted.model import converted_copy
from ultrafastbert.models.io.saved import load_as_saved, model_digest

# Trees of models of these hidden sizes: 3 % of the original's neurons are active, as in the bundled
# encoder.
TREES = {384: "1x6x40", 768: "1x6x80"}


@dataclass(frozen=True)
class Compared:
    """A model with trees and its dense variants.

    Attributes:
        name: of the shape, or of the original's folder.
        run_ffn: KxDxL of the trees.
        tokenizer: folder that has one.
        variants: names and what makes them: fff, ff (the original), ff_active, none.
        digest: of saved weights; None for random ones.
    """

    name: str
    run_ffn: str
    tokenizer: Path
    variants: dict[str, Callable[[], PreTrainedModel]]
    digest: str | None = None


def shapes() -> tuple[str, ...]:
    """Return the names of shapes that `of_shape` knows."""
    return (*_DENSE, "crammed")


def check_names(names: Sequence[str]) -> None:
    """Raise ValueError unless names are those of shapes."""
    if unknown := [name for name in names if name not in shapes()]:
        raise ValueError(f"models: {unknown[0]!r} is unknown; choose of {', '.join(shapes())}")


def of_shape(name: str) -> Compared:
    """Return models of a well-known size and random weights.

    Raises FileNotFoundError without the bundled encoder, whose tokenizer they take.
    """
    tokenizer = bundled_model()
    if name == "crammed":
        config = UltraFastBertConfig()
        made = {each: _made_bert(sizes) for each, sizes in bert_variants(config).items()}
        return Compared(name, config.ffn_name, tokenizer, made)
    config = _DENSE[name][1]()
    ffn = TREES[config.hidden_size]
    return Compared(name, ffn, tokenizer, _converted(lambda: _random(name), ffn))


def of_folders(folder: Path, original: Path) -> Compared:
    """Return a converted model and its original, with controls of random FF layers.

    Times do not depend on the values of the controls' weights. Raises OSError for missing files,
    ValueError for folders that are no converted model and no dense one, or of other sizes.
    """
    fast = cast(PreTrainedModel, load_as_saved(folder).base_model)
    in_layers = getattr(fast.config, "ffn", None)
    if not in_layers:
        raise ValueError(
            f"{folder} is not the folder of a converted model: give what convert wrote"
        )
    dense = cast(PreTrainedModel, load_dense(original).base_model)
    if (n_layers := len(layers_of(dense, location_of(dense)))) != len(in_layers):
        raise ValueError(
            f"{original} is not the original of {folder}: it has {n_layers} layers, not "
            f"{len(in_layers)}"
        )
    trees = dict.fromkeys(filter(None, in_layers))
    made = _converted(lambda: dense, *in_layers)
    made["fff"] = lambda: fast
    digest = f"{model_digest(folder)} {model_digest(original)}"
    return Compared(original.absolute().name, ", ".join(trees), folder, made, digest)


def _converted(
    original: Callable[[], PreTrainedModel], *ffn: str | None
) -> dict[str, Callable[[], PreTrainedModel]]:
    """Return variants of a dense model: one name for all layers, or one for each."""

    def made(replacing: Callable[[str], str | None]) -> Callable[[], PreTrainedModel]:
        def make() -> PreTrainedModel:
            dense = original()
            n_layers = len(layers_of(dense, location_of(dense)))
            names = ffn * n_layers if len(ffn) == 1 else ffn
            model = converted_copy(dense, [name and replacing(name) for name in names])
            _draw_trees(model)
            return model

        return make

    return {
        "fff": made(lambda name: name),
        "ff": made(lambda name: None),
        "ff_active": made(lambda name: f"ff:{ConvertedFeedForward(1, name).n_active}"),
        "none": made(lambda name: "none"),
    }


def _draw_trees(model: PreTrainedModel) -> None:
    """Give new trees weights as small as those of the layers around them.

    As they are drawn for training, their outputs would outweigh everything else: a rounding error
    that sends a token to another leaf would change all of the model, as it does in no trained one.
    """
    for layer in model.modules():
        if isinstance(layer, FastFeedForward):
            for weight in (layer.w_in, layer.w_out):
                nn.init.normal_(weight, std=model.config.initializer_range)


def ffn_of(model: PreTrainedModel) -> str:
    """Return what is in a model's layers, for rows."""
    if isinstance(model, UltraFastBertModel):
        return model.config.ffn_name
    return ", ".join(dict.fromkeys(name or "original" for name in model.config.ffn))


def _made_bert(config: UltraFastBertConfig) -> Callable[[], PreTrainedModel]:
    def make() -> PreTrainedModel:
        torch.manual_seed(0)
        return UltraFastBertModel(config).eval()

    return make


def _random(name: str) -> PreTrainedModel:
    model_class, config = _DENSE[name]
    torch.manual_seed(0)
    return model_class(config()).eval()


def _bert(hidden_size: int, num_hidden_layers: int) -> tuple[Any, Callable[[], Any]]:
    sizes: dict[str, Any] = {
        "hidden_size": hidden_size,
        "num_hidden_layers": num_hidden_layers,
        "intermediate_size": 4 * hidden_size,
    }
    return BertModel, lambda: BertConfig(**sizes)


_DENSE: dict[str, tuple[Any, Callable[[], Any]]] = {
    "minilm-l6": _bert(384, 6),
    "minilm-l12": _bert(384, 12),
    "distilbert": (DistilBertModel, DistilBertConfig),
    "bert-base": _bert(768, 12),
    "mpnet-base": (MPNetModel, MPNetConfig),
}
