"""Names that are imported when they are used: as complete as if they had been imported."""

import ast
import importlib
import sys
from pathlib import Path

import pytest

import ultrafastbert
from ultrafastbert.imports.moved import MOVED

LAZY = ["ultrafastbert", "ultrafastbert.models", "ultrafastbert.quickstart"]


@pytest.mark.parametrize("name", LAZY)
def test_every_public_name_is_found_and_seen_by_type_checkers(name):
    module = importlib.import_module(name)
    tree = ast.parse(Path(module.__file__).read_text(encoding="utf-8"))
    checked = next(node for node in tree.body if isinstance(node, ast.If))
    imported = {
        alias.name: node.module
        for node in checked.body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
    assert set(imported) == set(module.__all__) <= set(dir(module))
    for each, place in imported.items():
        assert getattr(module, each) is getattr(importlib.import_module(place), each)


def test_rooms_are_attributes():
    assert ultrafastbert.models.io is importlib.import_module("ultrafastbert.models.io")
    assert ultrafastbert.__version__


def test_unknown_names_are_refused():
    with pytest.raises(AttributeError, match="module 'ultrafastbert' has no attribute 'nothing'"):
        _ = ultrafastbert.nothing


@pytest.mark.parametrize("old", MOVED)
def test_old_names_say_the_new_one(old):
    message = f"^ultrafastbert.{old} is now ultrafastbert.{MOVED[old]}$"
    with pytest.raises(ModuleNotFoundError, match=message):
        importlib.import_module(f"ultrafastbert.{old}")
    importlib.import_module(f"ultrafastbert.{MOVED[old]}")
    parent, _, name = f"ultrafastbert.{old}".rpartition(".")
    with pytest.raises(ModuleNotFoundError, match=message):
        exec(f"from {parent} import {name}")


def test_attributes_of_old_names_say_the_new_one():
    assert "convert" not in vars(ultrafastbert)
    with pytest.raises(AttributeError, match=r"convert is now ultrafastbert\.distill"):
        _ = ultrafastbert.convert
    with pytest.raises(ModuleNotFoundError, match=r"convert is now ultrafastbert\.distill"):
        importlib.import_module("ultrafastbert.convert.sweep.recipe")
    assert "ultrafastbert.convert" not in sys.modules
