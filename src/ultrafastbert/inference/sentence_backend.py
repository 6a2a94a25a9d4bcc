"""Exported models as the ONNX backend of sentence-transformers: `backend="onnx"`.

Its own way to open them, optimum, does not know our operator. What `export_onnx` wrote is opened in
ONNX Runtime directly; every other model goes the library's way.
"""

import sys
from functools import wraps
from pathlib import Path
from typing import Any

TRANSFORMER = "sentence_transformers.base.modules.transformer"
FILE_NAMES = ("model.onnx", "onnx/model.onnx")


def follow_onnx_backend() -> None:
    """Let sentence-transformers, once it is imported, open exported models by this package."""
    module: Any = sys.modules[TRANSFORMER]
    original = module.load_onnx_model

    @wraps(original)
    def load_onnx_model(
        model_name_or_path: str, config: Any, task_name: str, **options: Any
    ) -> Any:
        from ultrafastbert.inference.engines.exported import ExportedModel, is_exported

        named = options.get("file_name")
        files = (Path(model_name_or_path) / name for name in ([named] if named else FILE_NAMES))
        file = next(filter(is_exported, files), None)
        if file is None:
            return original(model_name_or_path, config, task_name, **options)
        return ExportedModel(file, config, options.get("session_options"))

    module.load_onnx_model = load_onnx_model
