"""The checked-in stubs of the native modules are what nanobind writes of them."""

import importlib
from pathlib import Path

import pytest

SOURCE = Path(__file__).parents[2] / "src" / "ultrafastbert"


@pytest.mark.parametrize("name", ["_native", "_native_bench"])
def test_stubs_are_those_of_the_modules(name):
    stubgen = pytest.importorskip("nanobind.stubgen")
    try:
        module = importlib.import_module(f"ultrafastbert.{name}")
    except ImportError:
        pytest.skip("built without a native core")
    stub = stubgen.StubGen(module)
    stub.put(module)
    assert (SOURCE / f"{name}.pyi").read_text(encoding="utf-8") == stub.get(), (
        f"write it anew: python -m nanobind.stubgen -m ultrafastbert.{name} "
        f"-o src/ultrafastbert/{name}.pyi"
    )
