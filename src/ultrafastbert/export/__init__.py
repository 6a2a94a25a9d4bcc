"""Saved models in the formats of other engines."""

from ultrafastbert.export.onnx import Export, export_onnx
from ultrafastbert.export.torch_program import export_torch

__all__ = ["Export", "export_onnx", "export_torch"]
