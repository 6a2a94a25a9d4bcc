"""Whole models in other engines: rows beside PyTorch's, and their table."""

import pytest

from ultrafastbert import UltraFastBertConfig
from ultrafastbert.bench import ModelBenchConfig, bench_model, model
from ultrafastbert.report.engine_table import engine_table

pytestmark = pytest.mark.engines

SIZES = {"vocab_size": 64, "hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}


@pytest.mark.slow
def test_engines_are_timed_beside_pytorch(monkeypatch):
    for package in ("onnxscript", "onnxruntime", "openvino"):
        pytest.importorskip(package)
    all_variants = model.variants
    kept = ("fff", "ff")  # an export takes seconds
    monkeypatch.setattr(
        model, "variants", lambda config: {name: all_variants(config)[name] for name in kept}
    )
    sizes = UltraFastBertConfig(**SIZES, tree_depth=3, leaf_size=2)
    rows = bench_model(
        ModelBenchConfig(sizes, ((2, 8),), (), threads=1, seconds=0.01, engines=True)
    )
    ways = {(row.variant, row.implementation, row.precision) for row in rows}
    table = [line.strip("| ").split(" | ") for line in engine_table(rows).splitlines()]
    for engine, precision in (
        ("ONNX Runtime", "float32"),
        ("ONNX Runtime", "int8"),
        ("OpenVINO", "float32"),
    ):
        assert {(variant, engine, precision) for variant in kept} <= ways
        (line,) = (line for line in table if line[:2] == [engine, precision])
        assert line[-1].endswith("x")


def test_no_table_without_engines():
    assert engine_table([]) == ""


def test_missing_engines_are_named(monkeypatch):
    monkeypatch.setattr("ultrafastbert.imports.extras.find_spec", lambda name: None)
    with pytest.raises(ImportError, match=r"pip install 'ultrafastbert\[onnx,openvino\]'"):
        ModelBenchConfig(UltraFastBertConfig(**SIZES), (), (), engines=True)
