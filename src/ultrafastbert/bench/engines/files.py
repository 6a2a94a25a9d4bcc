"""What engines open: a model saved, exported to ONNX, and quantized for OpenVINO."""

import logging
from collections.abc import Callable, Iterator, Mapping
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from transformers import PreTrainedModel

from ultrafastbert.bench.engines.ways import Way
from ultrafastbert.data.tokenizer import copy_tokenizer
from ultrafastbert.inference.engines import export_onnx

PRECISIONS = {"float32": "fp32", "int8": "int8"}
QUANTIZED = "int8.xml"


class ModelFile(NamedTuple):
    """A folder with a tokenizer, and the file of the model in it."""

    folder: Path
    file: str

    @property
    def n_bytes(self) -> int:
        """Size of the model with its weights, which lie in files of the same beginning."""
        stem = self.file.split(".")[0]
        return sum(path.stat().st_size for path in self.folder.glob(f"{stem}.*"))


class ModelFiles:
    """The files of one model, made when a way needs them.

    Args:
        model: in float32, or with smaller weights of trees.
        tokenizer: folder that has one.
        folder: new one for all files.
        ids: (n, S) that values are quantized by.
    """

    def __init__(self, model: PreTrainedModel, tokenizer: Path, folder: Path, ids: np.ndarray):
        self.folder, self.ids = folder, ids
        self.saved = ModelFile(folder / "saved", "model.safetensors")
        model.save_pretrained(self.saved.folder)
        copy_tokenizer(tokenizer, self.saved.folder)

    def of(self, way: Way) -> ModelFile:
        """Return what a way opens.

        Raises ImportError, OSError, RuntimeError or ValueError for a model that it cannot have.
        """
        if way.operator is None:
            return self.saved
        if way.engine != "OpenVINO":
            return self._exported(way.operator, way.precision)
        plain = self._exported(way.operator, "float32")
        return plain if way.precision != "int8" else self._quantized(plain)

    def _exported(self, operator: str, precision: str) -> ModelFile:
        folder = self.folder / f"{operator} {precision}"
        if not folder.exists():
            export_onnx(
                self.saved.folder, folder, operator=operator, precision=PRECISIONS[precision]
            )
        return ModelFile(folder, "model.onnx")

    def _quantized(self, plain: ModelFile) -> ModelFile:
        """Quantize products and what comes in, as the real texts at hand need it.

        The fastest of the ways to int8 that OpenVINO computes: weights alone gain half as much,
        and it computes the files of ONNX Runtime slower than float32.
        """
        import nncf
        import openvino

        path = plain.folder / QUANTIZED
        if not path.exists():
            logging.getLogger("nncf").setLevel(logging.ERROR)
            model = openvino.Core().read_model(plain.folder / plain.file)
            names = [each.any_name for each in model.inputs]
            samples = nncf.Dataset(list(_samples(self.ids, names)))
            kind = nncf.ModelType.TRANSFORMER
            with redirect_stdout(StringIO()):  # where it shows its progress
                quantized = nncf.quantize(model, samples, model_type=kind)
            openvino.save_model(quantized, path)
        return ModelFile(plain.folder, QUANTIZED)


def _samples(ids: np.ndarray, names: list[str]) -> Iterator[Mapping[str, np.ndarray]]:
    fill: dict[str, Callable[[Any], np.ndarray]] = {
        "input_ids": np.asarray,
        "attention_mask": np.ones_like,
        "token_type_ids": np.zeros_like,
    }
    for each in ids[:, None]:
        yield {name: fill[name](each) for name in names}
