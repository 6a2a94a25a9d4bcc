"""Where the feedforward (FF) block sits in the layers of a model: known places, and named ones."""

from collections.abc import Sequence
from typing import NamedTuple, cast

from torch import nn

Layers = nn.ModuleList | nn.Sequential
EXAMPLE = "encoder.layer.*.intermediate,output.dense"

# Model types of ours begin with this, and those of converted models with the prefix.
OWN = "ultrafastbert"
PREFIX = f"{OWN}-"


class Block(NamedTuple):
    """Where the FF block sits, by names of modules as `print(model)` shows them.

    Residuals and norms lie outside, so the block is a function of vectors of H to vectors of H:
    dense, gated or anything else. It maps the input of its first module to the output of its last.

    Attributes:
        layers: the list of Transformer layers, seen from the model without its head.
        modules: what the block consists of, seen from a layer, in the order of computation; empty
            for the layer itself.
    """

    layers: str
    modules: tuple[str, ...]

    @classmethod
    def parse(cls, text: str) -> "Block":
        """Return what a text such as `encoder.layer.*.intermediate,output.dense` names.

        The star stands for the number of the layer. Raises ValueError for any other form.
        """
        first, *others = (name.strip() for name in text.split(","))
        layers, star, rest = first.partition(".*")
        others = [name.removeprefix(f"{layers}.*.") for name in others]
        modules = (rest.removeprefix("."), *others)
        well_formed = layers and star and (not rest or rest.startswith(".")) and all(others)
        if not well_formed or any("*" in name for name in (layers, *modules)):
            raise ValueError(
                f"block={text!r} must name modules of a layer, with one * for its number, as in "
                f"{EXAMPLE}"
            )
        return cls(layers, modules)

    def __str__(self) -> str:
        """Return the text that `parse` reads."""
        return ",".join((_joined(self.layers, "*", self.first), *self.modules[1:]))

    @property
    def first(self) -> str:
        """The module whose input is the block's."""
        return self.modules[0]

    @property
    def last(self) -> str:
        """The module whose output is the block's."""
        return self.modules[-1]


# The first that is there is taken.
KNOWN = (
    EXAMPLE,  # BERT, RoBERTa, XLM-R, CamemBERT, ELECTRA, ERNIE, MPNet, DeBERTa, Longformer, ESM ...
    "layers.*.mlp",  # ModernBERT, NomicBERT, EuroBERT; ViT, DeiT, BEiT; GPT-NeoX, Llama, Qwen ...
    "encoder.layers.*.mlp",  # CLIP and SigLIP, text and vision
    "encoder.layer.*.mlp",  # DINOv2
    "h.*.mlp",  # GPT-2, GPT-J
    "transformer.layer.*.ffn",  # DistilBERT
    # ALBERT, whose layers share one block
    "encoder.albert_layer_groups.0.albert_layers.*.ffn,activation,ffn_output",
    "ffns.*",  # XLM, FlauBERT
)


def block_of(model: nn.Module, named: str | None = None) -> Block:
    """Return where the FF block of a model sits: in the place that is named, or a known one.

    Raises ValueError where no layer has such a block.
    """
    if named is not None:
        block = _without_prefix(model, Block.parse(named))
        if not _numbers_with(model, block):
            raise ValueError(
                f"block={named!r} is nowhere in {type(model).__name__}, {_lists_of_layers(model)}"
            )
        return block
    for block in map(Block.parse, KNOWN):
        if _numbers_with(model, block):
            return block
    raise ValueError(
        f"cannot convert {type(model).__name__}: it is unknown where its feedforward block sits; "
        "name its modules by block, as print(model) shows them, with * for the number of the "
        f"layer, such as {EXAMPLE}; this is a model {_lists_of_layers(model)}"
    )


def body_of(model: nn.Module) -> nn.Module:
    """Return a model without its head."""
    return getattr(model, "base_model", model)


def layers_of(model: nn.Module, block: Block) -> Layers:
    """Return the Transformer layers of a model, with or without a head."""
    return cast(Layers, body_of(model).get_submodule(block.layers))


def check_layers(model: nn.Module, block: Block, numbers: Sequence[int]) -> None:
    """Raise ValueError unless these layers are there and have the block."""
    n_layers, found = len(layers_of(model, block)), _numbers_with(model, block)
    for number in numbers:
        if not 0 <= number < n_layers:
            raise ValueError(
                f"layer {number} is not there: the model has layers 0 to {n_layers - 1}"
            )
        if number not in found:
            raise ValueError(
                f"layer {number} has no block {block}; choose of the layers that have it: "
                f"{', '.join(map(str, found))}"
            )


def block_modules(model: nn.Module, block: Block, number: int) -> list[nn.Module]:
    """Return the modules of one layer's FF block."""
    layer = layers_of(model, block)[number]
    return [layer.get_submodule(name) for name in block.modules]


def replace_block(model: nn.Module, block: Block, number: int, new: nn.Module) -> None:
    """Put a module in the place of one layer's FF block."""
    body = body_of(model)
    first, *others = (_joined(block.layers, str(number), name) for name in block.modules)
    body.set_submodule(first, new)
    for name in others:
        body.set_submodule(name, nn.Identity())


def _joined(*names: str) -> str:
    return ".".join(filter(None, names))


def _without_prefix(model: nn.Module, block: Block) -> Block:
    """Return a block as seen from the model without its head, where it was named from outside."""
    prefix = getattr(model, "base_model_prefix", "")
    if not prefix or hasattr(body_of(model), prefix):
        return block
    return block._replace(layers=block.layers.removeprefix(f"{prefix}."))


def _numbers_with(model: nn.Module, block: Block) -> list[int]:
    """Return the numbers of the layers that have a block."""
    try:
        layers = layers_of(model, block)
    except AttributeError:
        return []
    if not isinstance(layers, Layers):
        return []
    return [number for number in range(len(layers)) if _has(layers[number], block)]


def _has(layer: nn.Module, block: Block) -> bool:
    names = {name for name, _ in layer.named_modules(remove_duplicate=False)}
    return names.issuperset(block.modules)


def _lists_of_layers(model: nn.Module) -> str:
    modules = body_of(model).named_modules()
    lists = [name for name, module in modules if isinstance(module, nn.ModuleList) and len(module)]
    names = [name for name in lists if not any(name.startswith(f"{other}.") for other in lists)]
    return f"whose lists of modules are {', '.join(names)}" if names else "without lists of modules"
