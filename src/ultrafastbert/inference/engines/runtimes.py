"""Engines that run ONNX files; each is imported only when it is used."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

if TYPE_CHECKING:
    from onnxruntime import InferenceSession

Run = Callable[[Mapping[str, Tensor]], Mapping[str, Tensor]]

# The package that holds our operator for ONNX Runtime, and the operator's domain.
RUNTIME, DOMAIN = "ultrafastbert_runtime", "ultrafastbert"


def has_operator() -> bool:
    """Return whether the operator for ONNX Runtime is installed."""
    return find_spec(RUNTIME) is not None and find_spec(f"{RUNTIME}.operator") is not None


def uses_operator(path: Path) -> bool:
    """Return whether an ONNX file has nodes of our operator."""
    import onnx

    file = onnx.load(path, load_external_data=False)
    return any(entry.domain == DOMAIN for entry in file.opset_import)


def open_session(path: Path, threads: int = 0) -> "InferenceSession":
    """Open an ONNX file in ONNX Runtime, on the processor; threads 0 for the engine's choice.

    Our operator is registered where the file uses it; ImportError says what to install where it is
    missing.
    """
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    # Its threads do not wait for the next call in a loop, at the cost of what else runs.
    options.add_session_config_entry("session.force_spinning_stop", "1")
    if uses_operator(path):
        register_operator(options)
    return onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])


def check_operator() -> None:
    """Raise ImportError, saying what to install, where our operator is missing."""
    if not has_operator():
        raise ImportError(
            "the operator of fast feedforward layers for ONNX Runtime is not installed: "
            "pip install ultrafastbert-runtime"
        )


def register_operator(options: Any) -> None:
    """Register our operator with options of an ONNX Runtime session; ImportError if missing."""
    check_operator()
    from ultrafastbert_runtime import operator

    operator.register(options)


def _onnxruntime(path: Path, threads: int) -> Run:
    session = open_session(path, threads)
    names = [output.name for output in session.get_outputs()]

    def run(inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        outputs: Any = session.run(names, {name: x.numpy() for name, x in inputs.items()})
        return {name: torch.from_numpy(x) for name, x in zip(names, outputs, strict=True)}

    return run


def _openvino(path: Path, threads: int) -> Run:
    import openvino

    # Without the hint, processors that have bfloat16 compute in it.
    settings = {"INFERENCE_PRECISION_HINT": "f32", "PERFORMANCE_HINT": "LATENCY"}
    if threads:
        settings["INFERENCE_NUM_THREADS"] = str(threads)
    compiled = openvino.Core().compile_model(path, "CPU", settings)
    names = [output.any_name for output in compiled.outputs]

    def run(inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        outputs = compiled({name: x.numpy() for name, x in inputs.items()})
        # Copied, for the next call overwrites them.
        return {name: torch.from_numpy(outputs[name].copy()) for name in names}

    return run


@dataclass(frozen=True)
class Engine:
    """A package that runs ONNX files on the processor."""

    package: str
    open: Callable[[Path, int], Run]  # file, threads (0 for the engine's choice) -> run

    def is_available(self) -> bool:
        """Return whether the package is installed."""
        return find_spec(self.package) is not None


ENGINES = {
    "ONNX Runtime": Engine("onnxruntime", _onnxruntime),
    "OpenVINO": Engine("openvino", _openvino),
}
