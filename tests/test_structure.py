"""The shape of the package: one direction of imports, optional parts in one place, public names."""

import ast
import importlib
from pathlib import Path

import pytest

import ultrafastbert

PACKAGE = Path(ultrafastbert.__file__).parent
if not (PACKAGE / "cli").exists():  # editable installs keep only the native core there
    PACKAGE = Path(__file__).parents[1] / "src" / "ultrafastbert"

# A room may import those of earlier lines. Rooms of one line share a floor: kernels compute the
# definition in `fff`, whose operator calls them; runs know which of their rows are results.
FLOORS = [
    {"imports"},
    {"runs", "rows"},
    {"fff", "kernels"},
    {"data"},
    {"models"},
    {"evaluate"},
    {"train"},
    {"inference"},
    {"interpret"},
    {"bench"},
    {"distill"},
    {"report"},
    {"quickstart"},
    {"cli"},
]
FLOOR_OF = {room: number for number, rooms in enumerate(FLOORS) for room in rooms}
ROOT_FILES = {"__init__", "__main__"}
FILES = sorted(PACKAGE.rglob("*.py"))


def room_of(path):
    return path.relative_to(PACKAGE).with_suffix("").parts[0]


def imports(path):
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (name.name for name in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield from (f"{node.module}.{name.name}" for name in node.names)


def test_every_room_has_its_floor():
    assert {room_of(path) for path in FILES} == set(FLOOR_OF) | ROOT_FILES


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_lower_rooms_never_import_higher_ones(path):
    if room_of(path) in ROOT_FILES:
        return
    for name in imports(path):
        imported = name.split(".")[1] if name.startswith("ultrafastbert.") else None
        if imported in FLOOR_OF:
            assert FLOOR_OF[imported] <= FLOOR_OF[room_of(path)], name


def test_only_a_kernels_own_file_imports_what_it_needs():
    users = {(room_of(path), path.name, name) for path in FILES for name in imports(path)}
    assert {user for user in users if user[2].startswith("ultrafastbert_runtime._native")} == {
        ("kernels", "native.py", "ultrafastbert_runtime._native"),
        ("bench", "blas.py", "ultrafastbert_runtime._native_bench"),
        ("bench", "machine.py", "ultrafastbert_runtime._native_bench"),
    }


@pytest.mark.parametrize(
    "module",
    [
        "ultrafastbert",
        *(
            f"ultrafastbert.{part}"
            for part in ("inference", "inference.engines", "train.finetune", "bench", "distill")
        ),
    ],
)
def test_public_names_are_there(module):
    module = importlib.import_module(module)
    for name in module.__all__:
        assert hasattr(module, name)
        assert getattr(module, name).__doc__, name
