"""Saved models in the formats of other engines.

`onnx_export` writes ONNX, of standard operators by `unrolled`; `torch_export` writes programs of
`torch.export` and AOTInductor. `tracing` makes a model a function to export, `runtimes` runs ONNX
files by ONNX Runtime and OpenVINO, `agreement` compares outputs, `companions` adds the other files.
"""

from ultrafastbert.inference.engines.onnx_export import Export, export_onnx
from ultrafastbert.inference.engines.torch_export import export_torch

__all__ = ["Export", "export_onnx", "export_torch"]
