"""The shape of the package: one direction of imports, optional parts in one place, public names."""

import ast
import importlib
from pathlib import Path

import pytest

import ultrafastbert

PACKAGE = Path(ultrafastbert.__file__).parent
if not (PACKAGE / "cli").exists():  # editable installs keep only the native core there
    PACKAGE = Path(__file__).parents[1] / "src" / "ultrafastbert"

# A module may import those of earlier lines, and those of its own package.
ORDER = [
    "allocator",
    "digests",
    "outputs",
    "locks",
    "rows",
    "run_folder",
    "resumable",
    "bundled",
    "tree",
    "activations",
    "reference",
    "leaf_bias",
    "quantization",
    "transforms",
    "kernels",
    "ops",
    "soft",
    "usage",
    "layers",
    "checkpoints",
    "models",
    "data",
    "export",
    "importing",
    "pretrain",
    "glue",
    "bench",
    "convert",
    "report",
    "fill_mask",
    "encode",
    "quickstart",
    "quickstart_convert",
    "cli",
    "__main__",
]
# The same within the package that has parts of its own.
CONVERT_ORDER = [
    "status",
    "precision",
    "text",
    "teacher",
    "folder",
    "distillation",
    "plan",
    "evaluation",
    "diagnosis",
    "sweep",
    "conversion",
    "recipe",
    "in_memory",
    "shrinking",
]
FILES = sorted(PACKAGE.rglob("*.py"))
CONVERT_FILES = sorted((PACKAGE / "convert").rglob("*.py"))


def part(path, folder=PACKAGE):
    return path.relative_to(folder).with_suffix("").parts[0]


def imports(path):
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (name.name for name in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield from (f"{node.module}.{name.name}" for name in node.names)


def test_every_part_has_its_place():
    assert {part(path) for path in FILES} - {"__init__", "_native"} == set(ORDER)
    found = {part(path, PACKAGE / "convert") for path in CONVERT_FILES}
    assert found - {"__init__"} == set(CONVERT_ORDER)


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_lower_files_never_import_higher_ones(path):
    if part(path) == "__init__":
        return
    for name in imports(path):
        if name.startswith("ultrafastbert."):
            imported = name.split(".")[1]
            own = imported in (part(path), "_native")
            assert own or ORDER.index(imported) < ORDER.index(part(path)), name


@pytest.mark.parametrize("path", CONVERT_FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_the_parts_of_converting_keep_their_order(path):
    own = part(path, PACKAGE / "convert")
    if own == "__init__":
        return
    for name in imports(path):
        if name.startswith("ultrafastbert.convert."):
            imported = name.split(".")[2]
            in_order = CONVERT_ORDER.index(imported) < CONVERT_ORDER.index(own)
            assert imported == own or in_order, name


def test_only_a_kernels_own_file_imports_what_it_needs():
    users = {path.name for path in FILES for name in imports(path) if "_native" in name}
    # The benchmarks call loops of the native core that are no kernels.
    assert users == {"native.py", "blas.py", "machine.py"}


@pytest.mark.parametrize(
    "module",
    [
        "ultrafastbert",
        *(f"ultrafastbert.{part}" for part in ("export", "glue", "bench", "convert")),
    ],
)
def test_public_names_are_there(module):
    module = importlib.import_module(module)
    for name in module.__all__:
        assert hasattr(module, name)
        assert getattr(module, name).__doc__, name
