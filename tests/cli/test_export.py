"""`ultrafastbert export onnx`: its options, what it prints, and its errors in one line."""

import pytest
import torch
from exported import require_native
from tiny_models import tiny

from ultrafastbert import UltraFastBertModel

pytestmark = pytest.mark.engines


@pytest.fixture
def model(tmp_path, tokenizer):
    torch.manual_seed(0)
    UltraFastBertModel(tiny(vocab_size=len(tokenizer))).eval().save_pretrained(tmp_path / "model")
    tokenizer.save_pretrained(tmp_path / "model")
    return tmp_path / "model"


@pytest.mark.slow
def test_export_says_how_close_it_is(run, model, tmp_path):
    require_native()
    options = ("--operator", "native", "--precision", "int8")
    code, out, _ = run("export", "onnx", model, tmp_path / "out", *options)
    assert code == 0
    assert (tmp_path / "out" / "model.onnx").exists()
    assert "ONNX Runtime computes what the model does, within" in out
    assert "With int8 products: relative error" in out


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--operator", "fast"), "operator='fast' is unknown; choose one of native, standard"),
        (("--precision", "fp16"), "precision='fp16' is unknown; choose one of fp32, int8"),
    ],
)
def test_unknown_options_are_named(run, model, tmp_path, options, message):
    code, _, err = run("export", "onnx", model, tmp_path / "out", *options)
    assert code == 2
    assert message in " ".join(err.split())


def test_a_folder_without_model_is_named(run, tmp_path):
    pytest.importorskip("onnxscript")
    (tmp_path / "empty").mkdir()
    code, _, err = run(
        "export", "onnx", tmp_path / "empty", tmp_path / "out", "--operator", "standard"
    )
    assert code == 2
    assert "has no config.json" in " ".join(err.split())
    assert "Traceback" not in err
