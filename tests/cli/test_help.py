"""--help: it answers at once, and teaches."""

import subprocess
import sys

import pytest

from ultrafastbert import cli
from ultrafastbert.bench.engines.loads import LOADS
from ultrafastbert.bench.engines.models import shapes
from ultrafastbert.cli import bench, options
from ultrafastbert.models.converted.architectures import EXAMPLE
from ultrafastbert.train.pretrain import RECIPES

# Libraries that take seconds to import.
SLOW = {"torch", "transformers", "numpy", "matplotlib", "scipy", "sklearn", "datasets"}
GROUPS = ("bench", "export", "report")


def commands():
    """Return the names of all commands, with those of groups."""
    single = [each.name for each in cli.app.registered_commands if not each.hidden]
    groups = {
        each.typer_instance.info.name: each.typer_instance for each in cli.app.registered_groups
    }
    assert set(groups) == set(GROUPS)
    inner = [(name, each.name) for name in groups for each in groups[name].registered_commands]
    return [(), *((name,) for name in (*single, *groups)), *inner]


@pytest.mark.parametrize("command", [(), ("pretrain",), ("convert",), ("bench", "layer")], ids=str)
def test_help_imports_nothing_that_takes_long(command):
    call = [sys.executable, "-X", "importtime", "-m", "ultrafastbert", *command, "--help"]
    done = subprocess.run(call, capture_output=True, text=True, check=True)
    imported = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines()}
    assert "ultrafastbert.cli.pretrain" in imported
    assert not SLOW & imported


@pytest.mark.parametrize("command", commands(), ids=str)
def test_every_command_and_option_is_explained(run, monkeypatch, command):
    monkeypatch.setenv("COLUMNS", "120")
    code, out, err = run(*command, "--help")
    assert (code, err) == (0, "")
    name = " ".join(command)
    assert f"ultrafastbert {name}" in out
    for line in out.splitlines():
        if " --" in line and "Example" not in line and "│" in line:
            assert len(line.strip("│ ").split()) > 3, line


def test_help_teaches(run):
    _, out, _ = run("--help")
    places = [out.index(panel) for panel in (cli.USE, cli.MAKE, cli.MEASURE, cli.REPORT)]
    assert places == sorted(places)
    assert out.count("ultrafastbert ") >= 4  # three examples
    assert "shrink" not in out
    for command in cli.app.registered_commands:
        assert command.hidden or f"ultrafastbert {command.name} " in command.epilog


def test_examples_are_commands(run, monkeypatch):
    """Their options are there: each is parsed up to its end."""
    monkeypatch.setenv("COLUMNS", "200")
    for command in cli.app.registered_commands:
        if not command.hidden:
            used = [word for word in command.epilog.split() if word.startswith("--")]
            _, out, _ = run(command.name, "--help")
            assert all(option in out for option in used), command.name


def test_names_in_help_are_those_of_the_library():
    assert options.RECIPES.split(", ") == list(RECIPES)
    assert options.FF_LOCATION_EXAMPLE == EXAMPLE
    assert bench.SHAPES.split(",") == list(shapes())
    assert bench.LOADS.split(",") == list(LOADS)
