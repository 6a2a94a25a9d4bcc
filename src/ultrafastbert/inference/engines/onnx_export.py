"""Export of whole models to ONNX, with standard operators only."""

import logging
import warnings
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import nn
from transformers import PreTrainedModel

from ultrafastbert.imports.extras import require
from ultrafastbert.inference.engines.agreement import prove_equal
from ultrafastbert.inference.engines.companions import add_companions
from ultrafastbert.inference.engines.runtimes import ENGINES
from ultrafastbert.inference.engines.tracing import (
    NamedOutputs,
    export_arguments,
    load_ultrafastbert,
)
from ultrafastbert.inference.engines.unrolled import unroll
from ultrafastbert.runs import run_folder

MODEL_FILE = "model.onnx"
CHECKED_WITH = "ONNX Runtime"
OPSET = 20  # the first with a Gelu


class Export(NamedTuple):
    """An exported model and its largest error against the original, None where not compared."""

    path: Path
    error: float | None


def export_onnx(model_dir: str | Path, out: str | Path) -> Export:
    """Write a saved model to a new folder as `model.onnx`, with its configuration and tokenizer.

    Inputs are `input_ids` and `attention_mask` (batch, sequence), int64; outputs are those of the
    model's class (such as `logits`), float32. Quantized weights are expanded, weights beyond 2 GB
    go to `model.onnx.data`. More tokens than `max_position_embeddings` are an error in ONNX
    Runtime, but OpenVINO does not notice. Where ONNX Runtime is installed, the file is run and
    compared with the model before it is kept.

    Raises ImportError without the extra `onnx`, FileExistsError if `out` is not empty, OSError and
    ValueError for a folder that is no model of ours, RuntimeError if the outputs differ.
    """
    require("onnx", "onnxscript")
    out = Path(out)
    with run_folder.new_folder(out) as folder:
        model = load_ultrafastbert(model_dir)
        unrolled = unroll(model)
        write_onnx(unrolled, folder / MODEL_FILE, _properties(model))
        add_companions(unrolled.config, model_dir, folder)
        error = None
        if (engine := ENGINES[CHECKED_WITH]).is_available():
            run = engine.open(folder / MODEL_FILE, 0)
            error = prove_equal(model, run, f"the exported model in {CHECKED_WITH}")
    return Export(out / MODEL_FILE, error)


def write_onnx(
    model: PreTrainedModel, path: Path, properties: dict[str, str] | None = None
) -> None:
    """Write an unrolled model, in evaluation mode, as an ONNX file with metadata properties."""
    arguments = export_arguments(model)
    inputs = arguments["kwargs"]
    with torch.no_grad():
        outputs = list(model(**inputs, return_dict=True))
    names = {"input_names": list(inputs), "output_names": outputs}
    write_program(NamedOutputs(model).eval(), path, properties or {}, **names, **arguments)


def write_program(
    module: nn.Module, path: Path, properties: dict[str, str], **arguments: Any
) -> None:
    """Write a module as an ONNX file; `arguments` are those of `torch.onnx.export`."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the exporter about its own parts
        registration = logging.getLogger("torch.onnx._internal.exporter._registration")
        registration.setLevel(logging.ERROR)  # about torchvision, which is not needed
        program = torch.onnx.export(module, opset_version=OPSET, verbose=False, **arguments)
    assert program is not None
    for node in program.model.graph:  # where in the source it comes from, with this machine's paths
        node.metadata_props.clear()
    program.model.metadata_props.update(properties)
    program.save(path)


def _properties(model: PreTrainedModel) -> dict[str, str]:
    config = model.config
    return {
        "architecture": type(model).__name__,
        "ffn": config.ffn_name,
        "max_position_embeddings": str(config.max_position_embeddings),
    }
