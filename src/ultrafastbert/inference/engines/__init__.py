"""Saved models in the formats of other engines.

`onnx_export` writes ONNX: with our operator for ONNX Runtime (`native`, `attention`, `fusion`), or
`unrolled` in standard operators; `int8` makes weights smaller. `torch_export` writes programs of
`torch.export` and AOTInductor. `tracing` makes a model a function to export, `program` a file of
it, `runtimes` runs ONNX files by ONNX Runtime and OpenVINO, `agreement` and `paths` compare them
with the model, on `samples` too, `companions` adds the other files; `exported` runs them in
PyTorch's manner.
"""

from ultrafastbert.inference.engines.onnx_export import OnnxExport, export_onnx
from ultrafastbert.inference.engines.torch_export import Export, export_torch

__all__ = ["Export", "OnnxExport", "export_onnx", "export_torch"]
