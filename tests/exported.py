"""What tests of exported models share: our operator, or the reason why it cannot be tested."""

import pytest

from ultrafastbert.inference.engines.runtimes import ENGINES, has_operator


def require_native():
    """Skip a test where ONNX Runtime or our operator for it is missing."""
    for library in ("onnx", "onnxscript", "onnxruntime"):
        pytest.importorskip(library)
    if not has_operator():
        pytest.skip("the operator for ONNX Runtime is not installed (ultrafastbert-runtime)")


def open_file(engine, path):
    """Return a function that runs an ONNX file; skip the test where the engine is missing."""
    pytest.importorskip(ENGINES[engine].package)
    return ENGINES[engine].open(path, 1)


def operators_of(path):
    """Return the operators of an ONNX file, those of other domains with these."""
    onnx = pytest.importorskip("onnx")
    nodes = onnx.load(path, load_external_data=False).graph.node
    return {f"{node.domain}::{node.op_type}" if node.domain else node.op_type for node in nodes}
