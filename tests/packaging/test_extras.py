"""Without the libraries of extras: what needs one says which, in one line; the rest works."""

import json
import subprocess
import sys

import pytest
from packaging_files import names, project

from ultrafastbert.imports.extras import EXTRA_OF, name_extra, require

# Libraries that are imported by another name than they are installed by.
DISTRIBUTIONS = {"markdown_it": "markdown-it-py", "sklearn": "scikit-learn"}

NEEDS = {
    "from ultrafastbert.bench import bench_layer": "train",
    "from ultrafastbert.distill import convert_model": "train",
    "from ultrafastbert.quickstart import quickstart": "train",
    "from ultrafastbert.report import update_results": "report",
    "from ultrafastbert.report import write_report": "report",
    "from ultrafastbert.train.finetune import fine_tune_on": "train",
    "from ultrafastbert.train.pretrain import pretrain; pretrain(*[None] * 6)": "train",
    "import ultrafastbert; ultrafastbert.sentence_transformer('.')": "sentence-transformers",
    "from ultrafastbert.inference.engines import export_onnx; export_onnx('.', 'out')": "onnx",
    "from ultrafastbert.bench.engines import check_installed; check_installed()": "train",
}
NEEDS_NONE = [
    "from ultrafastbert.report import answers, write_model_card",
    "from ultrafastbert.report.tables import markdown_table",
    "from ultrafastbert.train.pretrain import get_recipe",
    "import ultrafastbert.cli",
]
SCRIPT = """
import json, sys

sys.modules.update(dict.fromkeys({missing}))  # a name that is None cannot be imported
said = {{}}
for code in {codes}:
    try:
        exec(code)
        said[code] = ""
    except ImportError as error:
        said[code] = str(error)
print(json.dumps(said))
"""


def run_without_extras(codes):
    """Return the message of the ImportError that each code ends with, empty for none."""
    script = SCRIPT.format(missing=list(EXTRA_OF), codes=list(codes))
    ran = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    return json.loads(ran.stdout)


@pytest.fixture(scope="module")
def said():
    return run_without_extras([*NEEDS, *NEEDS_NONE])


@pytest.mark.slow
@pytest.mark.parametrize("code", NEEDS)
def test_what_needs_an_extra_names_it(said, code):
    assert f"ultrafastbert[{NEEDS[code]}]" in said[code]
    assert "pip install" in said[code]
    assert "\n" not in said[code]


@pytest.mark.parametrize("code", NEEDS_NONE)
def test_what_needs_none_works(said, code):
    assert said[code] == ""


def test_commands_name_the_extra(run, monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "onnxscript", None)
    code, _, err = run("export", "onnx", tmp_path, tmp_path / "out")
    assert (code, err.count("\n")) == (2, 1)
    assert "onnxscript must be installed: pip install 'ultrafastbert[onnx]'" in err


def test_every_library_is_in_its_extra():
    extras = project()["optional-dependencies"]
    for library, extra in EXTRA_OF.items():
        distribution = DISTRIBUTIONS.get(library, library).replace("_", "-")
        assert distribution in names(extras[extra])


def test_several_libraries_are_named_together(monkeypatch):
    for name in ("datasets", "matplotlib"):
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(ImportError, match=r"datasets, matplotlib must .*\[report,train\]'"):
        require("datasets", "numpy", "matplotlib")
    require("numpy")


def test_other_errors_stay():
    for error in (ModuleNotFoundError("no", name="mine"), ImportError("broken", name="scipy")):
        assert name_extra(error) is error
