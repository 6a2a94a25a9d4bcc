"""torch.compile, torch.export and AOTInductor of whole models."""

import shutil
import subprocess
import sys

import pytest
import torch
from tiny_models import NO_DROPOUT, tiny

from ultrafastbert import UltraFastBertForMaskedLM, UltraFastBertForSequenceClassification
from ultrafastbert.inference.engines import export_torch
from ultrafastbert.inference.engines.tracing import example_inputs

# In a process of its own: what is loaded needs nothing but the operator.
FRESH = """
import sys, torch, ultrafastbert
program, package, tensors = sys.argv[1:]
inputs, expected = torch.load(tensors)
for run in (torch.export.load(program).module(), torch._inductor.aoti_load_package(package)):
    torch.testing.assert_close(run(**inputs)["logits"], expected, rtol=1e-5, atol=1e-5)
"""


def build(model_class):
    torch.manual_seed(0)
    return model_class(tiny(num_hidden_layers=1, **NO_DROPOUT)).eval()


# The graph that inductor gets is the same; its code is compiled in the test below.
@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    "model_class", [UltraFastBertForMaskedLM, UltraFastBertForSequenceClassification]
)
def test_whole_models_compile_for_training_with_any_sizes(model_class):
    model = build(model_class).train()
    compiled = torch.compile(model, fullgraph=True, dynamic=True, backend="aot_eager")
    for batch, length in ((2, 7), (3, 9), (5, 16)):
        inputs = example_inputs(model, batch, length)
        labels = inputs["input_ids"].masked_fill(inputs["input_ids"] % 2 == 0, -100)
        if model_class is UltraFastBertForSequenceClassification:
            labels = inputs["input_ids"][:, 0] % 2
        losses, grads = [], []
        for run in (model, compiled):
            model.zero_grad()
            losses.append(run(**inputs, labels=labels).loss)
            losses[-1].backward()
            grads.append([parameter.grad.clone() for parameter in model.parameters()])
        torch.testing.assert_close(*losses)
        torch.testing.assert_close(*grads)


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("g++") is None, reason="AOTInductor needs g++")
def test_program_and_package_run_in_a_fresh_process(tmp_path):
    model = build(UltraFastBertForSequenceClassification)
    model.save_pretrained(tmp_path / "model")
    program, error = export_torch(tmp_path / "model", tmp_path / "program")
    assert error < 1e-5
    assert sorted(file.name for file in program.parent.iterdir()) == ["config.json", "model.pt2"]
    # The same code, compiled faster than it would run.
    with torch._inductor.config.patch({"aot_inductor.compile_wrapper_opt_level": "O0"}):
        package, error = export_torch(tmp_path / "model", tmp_path / "package", compiled=True)
    assert error < 1e-5
    inputs = example_inputs(model, 5, 16)
    with torch.no_grad():
        torch.save((inputs, model(**inputs).logits), tmp_path / "tensors")
    arguments = map(str, (program, package, tmp_path / "tensors"))
    command = [sys.executable, "-c", FRESH, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_an_existing_folder_is_kept(tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(FileExistsError, match="not empty"):
        export_torch(tmp_path, tmp_path)
