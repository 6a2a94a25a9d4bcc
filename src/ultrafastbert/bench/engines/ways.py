"""Engines and precisions that a model can run in, and what each needs."""

from dataclasses import dataclass
from importlib.util import find_spec

from ultrafastbert.inference.optimized.backends import has_bfloat16

ENCODER = "ultrafastbert-runtime"


@dataclass(frozen=True)
class Way:
    """One way to run a model.

    Attributes:
        engine, precision: what runs it, and in what most products are computed.
        operator: of exported models: native (ours for trees, ONNX Runtime's for attention and
            norms) or standard.
        packages: that must be installed.
    """

    engine: str
    precision: str
    operator: str | None = None
    packages: tuple[str, ...] = ()

    def __str__(self) -> str:
        return " ".join(filter(None, (self.engine, self.precision, self.operator)))

    def lacks(self) -> str | None:
        """Return why it cannot be had on this machine, None if it can."""
        if missing := [name for name in self.packages if find_spec(name) is None]:
            return f"not installed: {', '.join(missing)}"
        if self.precision == "bfloat16" and not has_bfloat16():
            return "this processor does not compute in bfloat16"
        return None

    def batchings(self, n_texts: int) -> tuple[str, ...]:
        """Return how it can batch so many texts of a call."""
        if self.engine == ENCODER:
            return ("Encoder",)
        return ("order", "sorted") if n_texts > 1 else ("order",)


# The first is what the others are compared with. `optimize` gains nothing in float32.
PYTORCH = (
    Way("PyTorch", "float32"),
    Way("PyTorch", "bfloat16"),
    Way("PyTorch, optimized", "bfloat16"),
    Way("PyTorch, optimized", "int8"),
)
_ONNX = ("onnx", "onnxscript", "onnxruntime")
_OPENVINO = ("onnx", "onnxscript", "openvino")
_NATIVE = (
    Way("ONNX Runtime", "float32", "native", _ONNX),
    Way("ONNX Runtime", "int8", "native", _ONNX),
    Way(ENCODER, "float32", "native", (*_ONNX, "ultrafastbert_runtime")),
    Way(ENCODER, "int8", "native", (*_ONNX, "ultrafastbert_runtime")),
)
# What users of other engines have: with trees, rows are gathered for every token.
_STANDARD = (
    Way("ONNX Runtime", "float32", "standard", _ONNX),
    Way("ONNX Runtime", "int8", "standard", _ONNX),
)
_DENSE = (
    Way("OpenVINO", "float32", "standard", _OPENVINO),
    Way("OpenVINO", "bfloat16", "standard", _OPENVINO),
    Way("OpenVINO", "int8", "standard", (*_OPENVINO, "nncf")),
)


def waves_of(has_trees: bool) -> tuple[tuple[Way, ...], ...]:
    """Return the ways to run a model: those of PyTorch, and those of engines for exported models.

    Processes of all ways at once would not fit the memory of a small machine.
    """
    return PYTORCH, (*_NATIVE, *(_STANDARD if has_trees else _DENSE))
