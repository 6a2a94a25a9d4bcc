"""The folder of an exported model: where its files are, and what they say."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ultrafastbert_runtime.bundled import bundled_model

MODEL_FILE = "model.onnx"
# Where sentence-transformers and others keep it, beside the weights of PyTorch.
MODEL_FOLDER = "onnx"


@dataclass(frozen=True)
class ModelFolder:
    """Files of a model.

    Attributes:
        model: the ONNX file.
        folders: where its other files are looked for, in this order.
    """

    model: Path
    folders: tuple[Path, ...]

    def find(self, name: str) -> Path | None:
        """Return the path of a file such as `config.json`, None where there is none."""
        paths = (folder / name for folder in self.folders)
        return next((path for path in paths if path.is_file()), None)

    def require(self, name: str) -> Path:
        """Return the path of a file; FileNotFoundError where there is none."""
        if (path := self.find(name)) is None:
            raise FileNotFoundError(
                f"{self.folders[-1]} has no {name}: copy it from the model that was exported"
            )
        return path

    def settings(self, name: str) -> dict[str, Any]:
        """Return what a JSON file says, nothing where there is none; ValueError if it is broken."""
        path = self.find(name)
        if path is None:
            return {}
        found = read_json(path)
        if not isinstance(found, dict):
            raise ValueError(f"{path} must hold an object, not {type(found).__name__}")
        return found


def has_model(folder: str | Path) -> bool:
    """Return whether a folder holds an exported model, which needs no PyTorch."""
    return _model_file(Path(folder)) is not None


def find_model(path: str | Path | None) -> ModelFolder:
    """Return the files of a model.

    Args:
        path: its folder, with `model.onnx` in it or in its folder `onnx`; or an ONNX file; by
            default the encoder of the package `ultrafastbert-minilm`.

    Raises FileNotFoundError, which says what is missing.
    """
    place = bundled_model() if path is None else Path(path)
    if not place.exists():
        raise FileNotFoundError(f"{place} does not exist; give the folder of an exported model")
    model = place if place.is_file() else _model_file(place)
    if model is None:
        raise FileNotFoundError(
            f"{place} has no {MODEL_FILE}: write it by `ultrafastbert export onnx {place} OUT`, "
            "and give OUT"
        )
    folder = model.parent
    return ModelFolder(model, (folder, folder.parent) if folder.name == MODEL_FOLDER else (folder,))


def read_json(path: Path) -> Any:
    """Return what a JSON file holds; ValueError, which names it, if it is broken."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        reason = "too deeply nested" if isinstance(error, RecursionError) else error
        raise ValueError(f"{path} is not valid JSON: {reason}") from None


def count_of(settings: Mapping[str, Any], name: str, path: str) -> int | None:
    """Return a setting that is a number of at least 1, None if it is not there.

    Raises ValueError, which names the file, for anything else.
    """
    value = settings.get(name)
    if value is None:
        return None
    # Huge floats mean "no limit" where Hugging Face writes them.
    if isinstance(value, bool) or not isinstance(value, int | float) or not value >= 1:
        raise ValueError(f"{path}: {name}={value!r} must be a number of at least 1")
    return int(min(value, 2**31))


def _model_file(folder: Path) -> Path | None:
    places = (folder / MODEL_FOLDER / MODEL_FILE, folder / MODEL_FILE)
    return next((place for place in places if place.is_file()), None)
