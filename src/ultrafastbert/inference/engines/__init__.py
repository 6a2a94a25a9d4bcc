"""Saved models in the formats of other engines."""

from ultrafastbert.inference.engines.onnx_export import Export, export_onnx
from ultrafastbert.inference.engines.torch_export import export_torch

__all__ = ["Export", "export_onnx", "export_torch"]
