"""Engines that run ONNX files; each is imported only when it is used."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

Run = Callable[[Mapping[str, Tensor]], Mapping[str, Tensor]]


def _onnxruntime(path: Path, threads: int) -> Run:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    # Its threads do not wait for the next call in a loop, at the cost of what else runs.
    options.add_session_config_entry("session.force_spinning_stop", "1")
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
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
