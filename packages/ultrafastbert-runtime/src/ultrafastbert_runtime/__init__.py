"""Encoders with fast feedforward layers, run by ONNX Runtime without PyTorch.

Names are imported when they are first used: `import ultrafastbert_runtime` alone takes no time.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ultrafastbert_runtime.bundled import bundled_model
    from ultrafastbert_runtime.classifier import Classifier
    from ultrafastbert_runtime.encoder import Encoder
    from ultrafastbert_runtime.fill_mask import FillMask

__all__ = ["Classifier", "Encoder", "FillMask", "bundled_model"]

_MODULES = {
    "Classifier": "classifier",
    "Encoder": "encoder",
    "FillMask": "fill_mask",
    "bundled_model": "bundled",
}


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
