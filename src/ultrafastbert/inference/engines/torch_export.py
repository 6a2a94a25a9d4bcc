"""Export of whole models as PyTorch programs (`.pt2`), which run without the model's code."""

import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from ultrafastbert.inference.engines.agreement import prove_equal
from ultrafastbert.inference.engines.companions import add_companions
from ultrafastbert.inference.engines.runtimes import Run
from ultrafastbert.inference.engines.tracing import (
    NamedOutputs,
    export_arguments,
    load_ultrafastbert,
)
from ultrafastbert.models.converted.folder import n_positions
from ultrafastbert.runs import run_folder

PROGRAM_FILE = "model.pt2"


class Export(NamedTuple):
    """An exported program and its largest error against the original."""

    path: Path
    error: float


def export_torch(model_dir: str | Path, out: str | Path, compiled: bool = False) -> Export:
    """Write a saved model to a new folder as `model.pt2`, with its configuration and tokenizer.

    The program of `torch.export`, or with `compiled` a package of AOTInductor, made for this kind
    of processor by the system's C++ compiler. Both take `input_ids` and `attention_mask` (batch,
    sequence), return a dictionary of outputs and call the layer's operator: `import ultrafastbert`
    before loading them by `torch.export.load(...).module()` or `torch._inductor.aoti_load_package`.

    Raises FileExistsError if `out` is not empty, OSError and ValueError for a folder that is no
    model of ours, RuntimeError if the outputs differ or the compiler fails.
    """
    out = Path(out)
    with run_folder.new_folder(out) as folder, torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of PyTorch about its own parts
        model = load_ultrafastbert(model_dir)
        path = folder / PROGRAM_FILE
        program = torch.export.export(NamedOutputs(model).eval(), **export_arguments(model))
        if compiled:
            torch._inductor.aoti_compile_and_package(program, package_path=str(path))
        else:
            torch.export.save(program, path)
        add_companions(model.config, n_positions(model), Path(model_dir), folder)
        error = prove_equal(model, _load(path, compiled), "the exported program")
    return Export(out / PROGRAM_FILE, error)


def _load(path: Path, compiled: bool) -> Run:
    loaded = (
        torch._inductor.aoti_load_package(str(path))
        if compiled
        else torch.export.load(path).module()
    )

    def run(inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        return loaded(**inputs)

    return run
