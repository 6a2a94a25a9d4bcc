"""Where the feedforward (FF) layer sits in the layers of a model: known places and named ones."""

from collections.abc import Sequence
from typing import NamedTuple, cast

from torch import nn

Layers = nn.ModuleList | nn.Sequential
EXAMPLE = "encoder.layer.*.intermediate,output.dense"

# Model types of ours begin with this, and those of converted models with the prefix.
OWN = "ultrafastbert"
PREFIX = f"{OWN}-"


class FeedForwardLocation(NamedTuple):
    """Where the FF layer sits, by names of modules as `print(model)` shows them.

    Residuals and norms lie outside, so the FF layer is a function of vectors of H to vectors of H:
    dense, gated or anything else. It maps the input of its first module to the output of its last.

    Attributes:
        layers: the list of Transformer layers, seen from the model without its head.
        modules: what the FF layer consists of, seen from a Transformer layer, in the order of
            computation; empty for the Transformer layer itself.
    """

    layers: str
    modules: tuple[str, ...]

    @classmethod
    def parse(cls, text: str) -> "FeedForwardLocation":
        """Return what a text such as `encoder.layer.*.intermediate,output.dense` names.

        The star stands for the layer id. Raises ValueError for any other form.
        """
        first, *others = (name.strip() for name in text.split(","))
        layers, star, rest = first.partition(".*")
        others = [name.removeprefix(f"{layers}.*.") for name in others]
        modules = (rest.removeprefix("."), *others)
        well_formed = layers and star and (not rest or rest.startswith(".")) and all(others)
        if not well_formed or any("*" in name for name in (layers, *modules)):
            raise ValueError(
                f"ff_location={text!r} must name modules of a layer, with one * for its id, as in "
                f"{EXAMPLE}"
            )
        return cls(layers, modules)

    def __str__(self) -> str:
        """Return the text that `parse` reads."""
        return ",".join((_joined(self.layers, "*", self.first), *self.modules[1:]))

    @property
    def first(self) -> str:
        """The module whose input is that of the FF layer."""
        return self.modules[0]

    @property
    def last(self) -> str:
        """The module whose output is that of the FF layer."""
        return self.modules[-1]


# The first that is there is taken.
KNOWN = (
    EXAMPLE,  # BERT, RoBERTa, XLM-R, CamemBERT, ELECTRA, ERNIE, MPNet, DeBERTa, Longformer, ESM ...
    "layers.*.mlp",  # ModernBERT, NomicBERT, EuroBERT; ViT, DeiT, BEiT; GPT-NeoX, Llama, Qwen ...
    "encoder.layers.*.mlp",  # CLIP and SigLIP, text and vision
    "encoder.layer.*.mlp",  # DINOv2
    "h.*.mlp",  # GPT-2, GPT-J
    "transformer.layer.*.ffn",  # DistilBERT
    # ALBERT, whose layers share one FF layer
    "encoder.albert_layer_groups.0.albert_layers.*.ffn,activation,ffn_output",
    "ffns.*",  # XLM, FlauBERT
)


def location_of(model: nn.Module, named: str | None = None) -> FeedForwardLocation:
    """Return where the FF layers of a model sit: in the place that is named, or a known one.

    Raises ValueError where no Transformer layer has FF modules there.
    """
    if named is not None:
        location = _without_prefix(model, FeedForwardLocation.parse(named))
        if not _layer_ids_with(model, location):
            where = f"{type(model).__name__}, {_lists_of_layers(model)}"
            raise ValueError(f"ff_location={named!r} is nowhere in {where}")
        return location
    for location in map(FeedForwardLocation.parse, KNOWN):
        if _layer_ids_with(model, location):
            return location
    raise ValueError(
        f"cannot convert {type(model).__name__}: its feedforward layers are in no known place; "
        "name their modules by ff_location, as print(model) shows them, with * for the layer id, "
        f"such as {EXAMPLE}; this is a model {_lists_of_layers(model)}"
    )


def body_of(model: nn.Module) -> nn.Module:
    """Return a model without its head."""
    return getattr(model, "base_model", model)


def layers_of(model: nn.Module, location: FeedForwardLocation) -> Layers:
    """Return the Transformer layers of a model, with or without a head."""
    return cast(Layers, body_of(model).get_submodule(location.layers))


def check_layers(model: nn.Module, location: FeedForwardLocation, layer_ids: Sequence[int]) -> None:
    """Raise ValueError unless these layers are there and have FF modules at the location."""
    n_layers, found = len(layers_of(model, location)), _layer_ids_with(model, location)
    for layer_id in layer_ids:
        if not 0 <= layer_id < n_layers:
            raise ValueError(
                f"layer {layer_id} is not there: the model has layers 0 to {n_layers - 1}"
            )
        if layer_id not in found:
            raise ValueError(
                f"layer {layer_id} has no feedforward layer at {location}; choose among those that "
                f"have one: {', '.join(map(str, found))}"
            )


def feedforward_modules(
    model: nn.Module, location: FeedForwardLocation, layer_id: int
) -> list[nn.Module]:
    """Return the modules of one FF layer, in the order of computation."""
    layer = layers_of(model, location)[layer_id]
    return [layer.get_submodule(name) for name in location.modules]


def replace_feedforward(
    model: nn.Module, location: FeedForwardLocation, layer_id: int, new: nn.Module
) -> None:
    """Put a module in the place of one FF layer."""
    body = body_of(model)
    first, *others = (_joined(location.layers, str(layer_id), name) for name in location.modules)
    body.set_submodule(first, new)
    for name in others:
        body.set_submodule(name, nn.Identity())


def _joined(*names: str) -> str:
    return ".".join(filter(None, names))


def _without_prefix(model: nn.Module, location: FeedForwardLocation) -> FeedForwardLocation:
    """Return a location as seen from the model without its head."""
    prefix = getattr(model, "base_model_prefix", "")
    if not prefix or hasattr(body_of(model), prefix):
        return location
    return location._replace(layers=location.layers.removeprefix(f"{prefix}."))


def _layer_ids_with(model: nn.Module, location: FeedForwardLocation) -> list[int]:
    """Return the ids of the layers that have FF modules at a location."""
    try:
        layers = layers_of(model, location)
    except AttributeError:
        return []
    if not isinstance(layers, Layers):
        return []
    return [layer_id for layer_id in range(len(layers)) if _has(layers[layer_id], location)]


def _has(layer: nn.Module, location: FeedForwardLocation) -> bool:
    names = {name for name, _ in layer.named_modules(remove_duplicate=False)}
    return names.issuperset(location.modules)


def _lists_of_layers(model: nn.Module) -> str:
    modules = body_of(model).named_modules()
    lists = [name for name, module in modules if isinstance(module, nn.ModuleList) and len(module)]
    names = [name for name in lists if not any(name.startswith(f"{other}.") for other in lists)]
    return f"whose lists of modules are {', '.join(names)}" if names else "without lists of modules"
