"""Engines that run ONNX files; each is imported only when it is used."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

if TYPE_CHECKING:
    from onnxruntime import InferenceSession, SessionOptions

Run = Callable[[Mapping[str, Tensor]], Mapping[str, Tensor]]

# What is in the files that need our operator.
OPERATOR = b"FastFeedForward"


def has_operator() -> bool:
    """Return whether our operator for ONNX Runtime is installed."""
    try:
        check_operator()
    except (ImportError, FileNotFoundError):
        return False
    return True


def check_operator() -> None:
    """Raise FileNotFoundError, saying what to install, without our operator.

    Raises ImportError without ONNX Runtime, too.
    """
    from ultrafastbert_runtime import operator

    operator.library_path()


def open_session(
    path: Path, threads: int = 0, options: "SessionOptions | None" = None
) -> "InferenceSession":
    """Open an ONNX file in ONNX Runtime, on the processor.

    Our operator is registered where it is installed. Options are those of the caller, or of
    `threads`, 0 for the engine's choice. Raises FileNotFoundError where the file needs the operator
    and there is none.
    """
    import onnxruntime

    if options is None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        # Its threads do not wait for the next call in a loop, at the cost of what else runs.
        options.add_session_config_entry("session.force_spinning_stop", "1")
    if has_operator():
        from ultrafastbert_runtime import operator

        operator.register(options)
    elif OPERATOR in path.read_bytes():
        check_operator()
    return onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])


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
