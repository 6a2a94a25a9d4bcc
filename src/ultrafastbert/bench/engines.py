"""Other engines for whole models: each runs the model exported to ONNX."""

import logging
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

from transformers import PreTrainedModel

from ultrafastbert.imports.extras import require
from ultrafastbert.inference.engines.agreement import prove_equal
from ultrafastbert.inference.engines.onnx_export import MODEL_FILE, write_onnx
from ultrafastbert.inference.engines.runtimes import ENGINES, Run
from ultrafastbert.inference.engines.unrolled import unroll

# Values of weights held at once, in bytes of a parameter: the unrolled copy and the file (4 + 4),
# which both engines hold (4 + 4), and int8 (1).
WEIGHT_BYTES = 17


def check_installed() -> None:
    """Raise ImportError, saying what to install, unless all engines are there."""
    require("onnx", "onnxscript", "onnxruntime", "openvino")


def engine_runs(model: PreTrainedModel, threads: int) -> Iterator[tuple[str, str, Run]]:
    """Give (engine, precision, run) for each way to run a model in evaluation mode.

    In float32 each is proven equal to the model, or RuntimeError is raised. ONNX Runtime's own
    dynamic int8 quantization is of products with constant weights: trees stay in float32.
    """
    with TemporaryDirectory() as folder:
        path = Path(folder) / MODEL_FILE
        write_onnx(unroll(model), path)
        for name, engine in ENGINES.items():
            run = engine.open(path, threads)
            prove_equal(model, run, f"the exported model in {name}")
            yield name, "float32", run
        yield "ONNX Runtime", "int8", ENGINES["ONNX Runtime"].open(_quantized(path), threads)


def _quantized(path: Path) -> Path:
    from onnxruntime.quantization import quantize_dynamic

    quantized = path.with_name("int8.onnx")
    logging.disable(logging.WARNING)  # it advises steps that the exporter has done
    quantize_dynamic(path, quantized, op_types_to_quantize=["MatMul"], per_channel=True)
    logging.disable(logging.NOTSET)
    return quantized
