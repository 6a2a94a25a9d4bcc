"""Finding the library and registering it."""

from pathlib import Path

import numpy as np
import onnxruntime
import pytest
from operator_layers import Sizes, random_layer, random_tokens
from operator_models import layer_model, library, run
from ultrafastbert_runtime import operator


def test_register_makes_the_operator_known(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(operator, "library_path", library)
    options = onnxruntime.SessionOptions()
    operator.register(options)
    layer, x = random_layer(Sizes()), random_tokens((4, 5))
    session = onnxruntime.InferenceSession(layer_model(layer).SerializeToString(), options)
    assert np.array_equal(session.run(None, {"x": x})[0], run(layer, x)[0])


def test_missing_library_is_one_line(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(operator, "__file__", str(tmp_path / "operator.py"))
    with pytest.raises(FileNotFoundError, match="reinstall ultrafastbert-runtime") as caught:
        operator.register(onnxruntime.SessionOptions())
    assert "\n" not in str(caught.value)
    assert "libultrafastbert_onnx" in str(caught.value)


def test_library_lies_beside_the_module(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(operator, "__file__", str(tmp_path / "operator.py"))
    for suffix in ("so", "dylib"):
        (tmp_path / f"libultrafastbert_onnx.{suffix}").touch()
    assert operator.library_path().parent == tmp_path


def test_old_runtime_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(onnxruntime, "__version__", "1.17.3")
    with pytest.raises(ImportError, match=r"onnxruntime 1\.17\.3 is too old") as caught:
        operator.register(onnxruntime.SessionOptions())
    assert "\n" not in str(caught.value)
