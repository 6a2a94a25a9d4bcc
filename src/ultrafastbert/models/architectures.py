"""Where the feedforward (FF) blocks of known encoders sit: one line an architecture."""

from typing import NamedTuple, cast

from torch import nn
from transformers import PreTrainedModel

# Model types of converted models begin with this.
PREFIX = "ultrafastbert-"


class Block(NamedTuple):
    """Where the FF block sits in an architecture, by names of modules.

    Attributes:
        layers: the list of Transformer layers, seen from the base model.
        first, last: the block's first and last module, seen from a layer. The block maps the input
            of `first` to the output of `last`; residuals and norms lie outside.
    """

    layers: str
    first: str
    last: str


BERT_LIKE = Block("encoder.layer", "intermediate", "output.dense")
BLOCKS = {
    "bert": BERT_LIKE,
    "camembert": BERT_LIKE,
    "deberta": BERT_LIKE,
    "deberta-v2": BERT_LIKE,
    "electra": BERT_LIKE,
    "ernie": BERT_LIKE,
    "mpnet": BERT_LIKE,
    "roberta": BERT_LIKE,
    "xlm-roberta": BERT_LIKE,
    "distilbert": Block("transformer.layer", "ffn", "ffn"),
    "modernbert": Block("layers", "mlp", "mlp"),
}


def block_of(model_type: str) -> Block:
    """Return where the FF block of an architecture sits; ValueError for an unknown one."""
    if model_type not in BLOCKS:
        raise ValueError(
            f"cannot convert a model of type {model_type!r}: it is unknown where its feedforward "
            f"block sits; known are {', '.join(sorted(BLOCKS))}"
        )
    return BLOCKS[model_type]


def layers_of(model: PreTrainedModel, block: Block) -> nn.ModuleList:
    """Return the Transformer layers of a model, with or without a head."""
    return cast(nn.ModuleList, model.base_model.get_submodule(block.layers))


def replace_block(layer: nn.Module, block: Block, new: nn.Module) -> None:
    """Put a module in the place of a layer's FF block."""
    layer.set_submodule(block.first, new)
    if block.last != block.first:
        layer.set_submodule(block.last, nn.Identity())
