"""An ONNX file with int8 weights: dense products by ONNX Runtime's own tool, and word vectors.

Sizes in comments: V words, H hidden.
"""

import logging
from pathlib import Path
from tempfile import TemporaryDirectory

import torch.nn.functional as F
from torch import Tensor, nn
from transformers import PreTrainedModel

from ultrafastbert.fff.layer import FastFeedForward
from ultrafastbert.fff.quantization import quantize_rows
from ultrafastbert.inference.engines.program import save_model
from ultrafastbert.inference.engines.tracing import fast_layers, with_layers

# Products with constant weights; `Attention` holds the projections of query, key and value.
QUANTIZED_OPERATORS = ["MatMul", "Attention"]


class QuantizedEmbedding(nn.Module):
    """Word vectors as int8 rows with a scale each: ids (...) -> (..., H) float32."""

    rows: Tensor
    scale: Tensor

    def __init__(self, embedding: nn.Embedding):
        super().__init__()
        self.embedding_dim = embedding.embedding_dim
        rows, scale = quantize_rows(embedding.weight.detach(), "int8")
        assert scale is not None
        self.register_buffer("rows", rows)  # (V, H)
        self.register_buffer("scale", scale[:, None])  # (V, 1)

    def forward(self, ids: Tensor) -> Tensor:
        """Return the vectors of ids."""
        return F.embedding(ids, self.rows).float() * F.embedding(ids, self.scale)


def with_int8_weights(model: PreTrainedModel, with_trees: bool) -> PreTrainedModel:
    """Return a model with int8 word vectors and, if wanted, trees; all other weights are shared.

    Trees that are quantized already stay as they are. Raises ValueError for weights that are not
    finite.
    """
    model = with_layers(model, _int8_layer if with_trees else lambda layer: layer)
    if with_trees and fast_layers(model):
        model.config.weight_dtype = fast_layers(model)[0].weight_dtype
    words = model.get_input_embeddings() if model.main_input_name == "input_ids" else None
    if type(words) is nn.Embedding and words.max_norm is None:
        model.set_input_embeddings(QuantizedEmbedding(words))
    return model


def _int8_layer(layer: FastFeedForward) -> FastFeedForward:
    return layer if layer.weight_dtype else layer.quantize_("int8")


def quantize_products(path: Path) -> None:
    """Make constant weights of products in an ONNX file int8; inputs are quantized as they come.

    Weights are of seven bits: processors without VNNI add two products in 16 bits, where eight
    would overflow, and the file may run on any. It costs little: MiniLM's relative error is 0.158
    so and 0.151 with eight bits.
    """
    import onnx_ir
    from onnx_ir.external_data import load_to_model
    from onnxruntime.quantization import quantize_dynamic

    logging.disable(logging.WARNING)  # it advises steps that the exporter has done
    try:
        with TemporaryDirectory() as folder:
            quantized = Path(folder) / path.name
            quantize_dynamic(
                path,
                quantized,
                op_types_to_quantize=QUANTIZED_OPERATORS,
                per_channel=True,
                reduce_range=True,
                use_external_data_format=True,
            )
            save_model(load_to_model(onnx_ir.load(quantized)), path)
    finally:
        logging.disable(logging.NOTSET)
