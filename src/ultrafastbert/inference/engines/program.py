"""Modules as ONNX programs, and programs as files."""

import logging
import warnings
from pathlib import Path
from typing import Any

import torch
from torch import nn

from ultrafastbert.imports.version import __version__

OPSET = 20  # the first with a Gelu
PRODUCER = "ultrafastbert"
# Tensors from this size lie in the file beside, on whole pages, so that they are mapped to memory.
DATA_BYTES, PAGE_BYTES = 1 << 16, 1 << 12


def write_program(
    module: nn.Module, path: Path, properties: dict[str, str], **arguments: Any
) -> None:
    """Write a module as an ONNX file; `arguments` are those of `torch.onnx.export`."""
    save_program(export_program(module, **arguments), path, properties)


def export_program(module: nn.Module, **arguments: Any) -> Any:
    """Return a module as a program of ONNX; `arguments` are those of `torch.onnx.export`.

    Raises RuntimeError, in one line, where that is not possible.
    """
    registration = logging.getLogger("torch.onnx._internal.exporter._registration")
    registration.setLevel(logging.ERROR)  # about torchvision, which is not needed
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the exporter about its own parts
        try:
            return torch.onnx.export(module, opset_version=OPSET, verbose=False, **arguments)
        except torch.onnx.OnnxExporterError as error:
            raise RuntimeError(f"PyTorch cannot export the model: {_cause(error)}") from error


def _cause(error: BaseException) -> str:
    """Return the first line of what an error began with."""
    while error.__cause__ is not None:
        error = error.__cause__
    return next(iter(str(error).splitlines()), type(error).__name__)


def save_program(program: Any, path: Path, properties: dict[str, str]) -> None:
    """Write a program as an ONNX file with metadata properties."""
    for node in program.model.graph:  # where in the source it comes from, with this machine's paths
        node.metadata_props.clear()
    program.model.metadata_props.update(properties)
    save_model(program.model, path)


def save_model(model: Any, path: Path) -> None:
    """Write a model as an ONNX file; larger weights lie beside it, in a file that ends in .data."""
    import onnx_ir

    model.producer_name, model.producer_version = PRODUCER, __version__
    sizes = [value.const_value.nbytes for value in model.graph.initializers.values()]
    onnx_ir.save(
        model,
        path,
        external_data=f"{path.name}.data" if max(sizes, default=0) >= DATA_BYTES else None,
        size_threshold_bytes=DATA_BYTES,
        alignment=PAGE_BYTES,
        align_threshold=0,
    )
