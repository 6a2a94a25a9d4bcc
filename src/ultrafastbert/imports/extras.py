"""Libraries that only an extra installs: what fails without one names the extra, in one line."""

from importlib.util import find_spec

# Libraries as they are imported -> the extra of pyproject.toml that installs them.
EXTRA_OF = {
    "accelerate": "train",
    "datasets": "train",
    "scipy": "train",
    "sklearn": "train",
    "threadpoolctl": "train",
    "jinja2": "report",
    "markdown_it": "report",
    "matplotlib": "report",
    "sentence_transformers": "sentence-transformers",
    "onnx": "onnx",
    "onnxruntime": "onnx",
    "onnxscript": "onnx",
    "openvino": "openvino",
}


def require(*libraries: str) -> None:
    """Raise ImportError, saying what to install, unless all of these libraries are there."""
    missing = [name for name in libraries if find_spec(name) is None]
    if missing:
        raise ImportError(_line(missing))


def name_extra(error: ImportError) -> ImportError:
    """Return an error that says what to install, or the same one if no extra is missing."""
    library = (error.name or "").split(".")[0]
    is_missing = isinstance(error, ModuleNotFoundError) and library in EXTRA_OF
    return ImportError(_line([library]), name=error.name) if is_missing else error


def _line(libraries: list[str]) -> str:
    extras = sorted({EXTRA_OF[name] for name in libraries})
    return (
        f"{', '.join(libraries)} must be installed: pip install 'ultrafastbert[{','.join(extras)}]'"
    )
