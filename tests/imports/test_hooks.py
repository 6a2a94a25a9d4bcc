"""Operators and models are registered by whoever imports torch and transformers, in any order."""

import importlib
import subprocess
import sys
import types

import pytest
import torch
from tiny_models import tiny

from ultrafastbert import UltraFastBertForMaskedLM, UltraFastBertModel
from ultrafastbert.imports.hooks import after_import

OPERATOR = "print(torch.ops.ultrafastbert.fast_feedforward)"
LOAD = """
import sys
{imports}
assert "transformers.modeling_utils" not in sys.modules
config = AutoConfig.from_pretrained(sys.argv[1])
model = AutoModelForMaskedLM.from_pretrained(sys.argv[1])
print(type(config).__name__, type(model).__name__)
from ultrafastbert import UltraFastBertConfig, UltraFastBertForMaskedLM
assert AutoModelForMaskedLM._model_mapping[UltraFastBertConfig] is UltraFastBertForMaskedLM
"""
AUTO = "from transformers import AutoConfig, AutoModelForMaskedLM"
# transformers imports its Auto classes while this module is not complete.
LAYERS = "import ultrafastbert, transformers.modeling_layers; "
THREADS = """
import sys, threading, ultrafastbert
import transformers  # whose own first import is for one thread
def own():
    from ultrafastbert import UltraFastBertModel
def auto():
    from transformers import AutoModelForMaskedLM
    with loading:  # transformers loads one model at a time
        made.append(AutoModelForMaskedLM.from_pretrained(sys.argv[1]))
def operators():
    import torch, ultrafastbert.kernels
made, loading = [], threading.Lock()
threads = [threading.Thread(target=each) for each in (own, auto, operators) * 2]
for each in threads: each.start()
for each in threads: each.join()
print(*(type(each).__name__ for each in made))
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("model")
    UltraFastBertForMaskedLM(tiny()).save_pretrained(path)
    return path


def said(code, *arguments):
    command = [sys.executable, "-c", code, *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=600, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.split()


def test_neither_torch_nor_transformers_is_imported_before_it_is_needed():
    code = "import sys, ultrafastbert; print(*sys.modules)"
    assert not {"torch", "transformers", "numpy"} & set(said(code))


@pytest.mark.parametrize(
    "imports",
    [
        "import ultrafastbert, torch",
        "import torch, ultrafastbert",
        "import ultrafastbert.kernels, torch",  # torch is imported by a part of the operators
        "import ultrafastbert.fff.tree, torch",
    ],
)
def test_operators_are_registered(imports):
    assert said(f"{imports}; {OPERATOR}") == ["ultrafastbert.fast_feedforward"]


@pytest.mark.slow
@pytest.mark.parametrize(
    "imports", [f"import ultrafastbert; {AUTO}", f"{AUTO}; import ultrafastbert"]
)
def test_auto_classes_load_models_in_any_order_of_imports(folder, imports):
    found = said(LOAD.format(imports=imports), folder)
    assert found == ["UltraFastBertConfig", "UltraFastBertForMaskedLM"]


@pytest.mark.slow
def test_auto_classes_are_registered_within_an_import_of_transformers(folder):
    code = LAYERS + AUTO + "; print(type(AutoModelForMaskedLM.from_pretrained(sys.argv[1])))"
    assert "ultrafastbert" in said("import sys; " + code, folder)[1]


@pytest.mark.slow
def test_threads_may_import_all_of_it_at_once(folder):
    assert said(THREADS, folder) == ["UltraFastBertForMaskedLM"] * 2


def test_imported_models_are_registered_as_themselves():
    from transformers import AutoModel

    assert type(AutoModel.from_config(tiny())) is UltraFastBertModel
    assert AutoModel._model_mapping[type(tiny())] is UltraFastBertModel


@pytest.fixture
def module(tmp_path, monkeypatch, request):
    """Return the name of a module that can be imported, one of its own for each test."""
    name = f"followed_by_{request.node.name}"
    (tmp_path / f"{name}.py").write_text("value = 1\n")
    monkeypatch.syspath_prepend(tmp_path)
    yield name
    sys.modules.pop(name, None)


def test_calls_follow_imports_and_reloads(module):
    calls = []
    after_import(module, lambda: calls.append(sys.modules[module].value))
    assert calls == []
    found = importlib.import_module(module)
    assert calls == [1]
    assert type(found.__loader__) is type(found.__spec__.loader) is type(types.__loader__)
    importlib.reload(found)
    assert calls == [1, 1]
    after_import(module, lambda: calls.append("at once"))
    assert calls == [1, 1, "at once"]


def test_a_module_that_fails_is_followed_by_nothing(tmp_path, module):
    (tmp_path / f"{module}.py").write_text("raise ValueError('broken')\n")
    after_import(module, lambda: pytest.fail("called"))
    with pytest.raises(ValueError, match="broken"):
        importlib.import_module(module)


def test_a_finder_that_asks_all_others_does_no_harm(module, monkeypatch):
    class Asking:
        asking = False

        def find_spec(self, name, path=None, target=None):
            if self.asking or name != module:
                return None
            self.asking = True
            return importlib.util.find_spec(name)

    calls = []
    after_import(module, lambda: calls.append(1))
    monkeypatch.setattr(sys, "meta_path", [Asking(), *sys.meta_path])
    importlib.import_module(module)
    assert calls == [1]


def test_operators_are_there():
    assert torch.ops.ultrafastbert.fast_feedforward


def test_every_operator_is_there_for_programs_that_are_loaded():
    names = "fast_feedforward", "fast_feedforward_quantized", "count_leaves_"
    operators = ", ".join(f"torch.ops.ultrafastbert.{name}" for name in names)
    assert len(said(f"import ultrafastbert, torch; print({operators})")) == len(names)
