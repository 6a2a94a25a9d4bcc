"""The checked-in stubs of the native modules are what nanobind writes of them."""

import importlib

import pytest
from packaging_files import ROOT, RUNTIME

SOURCE = RUNTIME / "src" / "ultrafastbert_runtime"


@pytest.mark.parametrize("name", ["_native", "_native_bench"])
def test_stubs_are_those_of_the_modules(name):
    stubgen = pytest.importorskip("nanobind.stubgen")
    try:
        module = importlib.import_module(f"ultrafastbert_runtime.{name}")
    except ImportError:
        pytest.skip("built without a native core")
    stub = stubgen.StubGen(module)
    stub.put(module)
    assert (SOURCE / f"{name}.pyi").read_text(encoding="utf-8") == stub.get(), (
        f"write it anew: python -m nanobind.stubgen -m ultrafastbert_runtime.{name} "
        f"-o {SOURCE.relative_to(ROOT)}/{name}.pyi"
    )
