"""The operator `ultrafastbert::FastFeedForward` for sessions of ONNX Runtime.

The library lies beside this module; `csrc/onnx` is its source. Other languages register it with
`RegisterCustomOpsLibrary`.
"""

import sys
from pathlib import Path

import onnxruntime

LEAST_VERSION = (1, 18)  # of ONNX Runtime: csrc/onnx/ort_api.h asks for its interface


def library_path() -> Path:
    """Return where the operator's shared library is.

    Raises FileNotFoundError if the package was installed without it.
    """
    suffix = ".dylib" if sys.platform == "darwin" else ".so"
    path = Path(__file__).with_name(f"libultrafastbert_onnx{suffix}")
    if not path.is_file():
        raise FileNotFoundError(
            f"{path} is missing: reinstall ultrafastbert-runtime from a wheel, or from source "
            "where there is a C++17 compiler"
        )
    return path


def register(options: onnxruntime.SessionOptions) -> None:
    """Make the operator known to the sessions that are opened with these options.

    Raises ImportError if ONNX Runtime is too old, FileNotFoundError if the library is missing.
    """
    version = onnxruntime.__version__
    if tuple(int(part) for part in version.split(".")[:2]) < LEAST_VERSION:
        least = ".".join(map(str, LEAST_VERSION))
        raise ImportError(
            f"onnxruntime {version} is too old for the operator FastFeedForward: "
            f"pip install 'onnxruntime>={least}'"
        )
    options.register_custom_ops_library(str(library_path()))
