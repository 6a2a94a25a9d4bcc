"""What the documentation says exists: its Python compiles, commands and links are there."""

import ast
import importlib
import re
import shlex
from importlib.util import find_spec
from pathlib import Path

import pytest
import typer
import yaml
from typer.core import TyperGroup

from ultrafastbert import cli

ROOT = Path(__file__).parents[2]
PAGES = sorted(ROOT.glob("docs/*.md"))
FILES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *PAGES]
# The log and the changelog tell of commands that were called otherwise.
GUIDES = [path for path in FILES if path.name != "log.md"]
MOST_README_BYTES, MOST_TABLE_ROWS = 10_240, 10

FENCE = re.compile(r"^ *```(\w*)\n(.*?)^ *```", re.MULTILINE | re.DOTALL)
INLINE = re.compile(r"`([^`\n]+)`")
LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")


def named(path):
    return path.relative_to(ROOT).as_posix()


def blocks(path, language):
    fences = FENCE.findall(path.read_text(encoding="utf-8"))
    return [code for found, code in fences if found == language]


def prose(path):
    return FENCE.sub("", path.read_text(encoding="utf-8"))


PYTHON = [(path, code) for path in FILES for code in blocks(path, "python")]


def exists(module, name):
    """Whether `from module import name` works: a name of the module, or a module in it."""
    return hasattr(importlib.import_module(module), name) or bool(find_spec(f"{module}.{name}"))


@pytest.mark.parametrize(("path", "code"), PYTHON, ids=lambda value: getattr(value, "name", ""))
def test_python_compiles_and_its_names_exist(path, code):
    tree = ast.parse(code, named(path))
    compile(tree, named(path), "exec")
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module.startswith("ultrafastbert"):
            assert [name.name for name in node.names if not exists(node.module, name.name)] == []
        if isinstance(node, ast.Attribute) and ast.unparse(node.value) == "ultrafastbert":
            assert hasattr(importlib.import_module("ultrafastbert"), node.attr), node.attr


def command_lines(path):
    """Return the lines of shell blocks and the inline code that call the command."""
    code = "".join(blocks(path, "bash")).replace("\\\n", " ")
    lines = code.splitlines()
    lines += INLINE.findall(prose(path))
    return [line for line in lines if re.search(r"(^|-m |&& )ultrafastbert( |$)", line)]


def problems(words):
    """Return what of a command line after `ultrafastbert` does not exist."""
    command = typer.main.get_command(cli.app)
    while isinstance(command, TyperGroup) and words and not words[0].startswith("-"):
        context = typer.Context(command)
        if (found := command.get_command(context, words[0])) is None:
            return [words[0]]
        command, words = found, words[1:]
    options = long_options(command)
    return [word for word in words if word.startswith("--") and word.split("=")[0] not in options]


def long_options(command):
    options = (o for p in command.params for o in (*p.opts, *p.secondary_opts))
    return {option for option in options if option.startswith("--")} | {"--help"}


def all_long_options(command):
    found = long_options(command)
    if isinstance(command, TyperGroup):
        context = typer.Context(command)
        for name in command.list_commands(context):
            found |= all_long_options(command.get_command(context, name))
    return found


@pytest.mark.parametrize("path", GUIDES, ids=named)
def test_commands_and_their_options_exist(path):
    for line in command_lines(path):
        words = shlex.split(line, comments=True)
        assert problems(words[words.index("ultrafastbert") + 1 :]) == [], line


# Of other programs.
FOREIGN = {"--constraint", "--editable", "--extra-index-url", "--nproc-per-node", "--strict"}


@pytest.mark.parametrize("path", GUIDES, ids=named)
def test_options_in_prose_exist(path):
    known = all_long_options(typer.main.get_command(cli.app)) | FOREIGN
    codes = " ".join(INLINE.findall(prose(path)))
    assert set(re.findall(r"(?<![\w-])--[a-z][a-z-]*", codes)) - known == set()


def anchors(path):
    """Return the addresses of the headings of a page, as mkdocs and code hosts make them."""
    headings = re.findall(r"^#+ (.*)$", prose(path), re.MULTILINE)
    plain = (re.sub(r"[^\w\- ]", "", heading.lower()) for heading in headings)
    return {text.strip().replace(" ", "-") for text in plain}


@pytest.mark.parametrize("path", [*FILES, ROOT / "CHANGELOG.md"], ids=named)
def test_relative_links_resolve(path):
    for link in LINK.findall(prose(path)):
        target, _, anchor = link.partition("#")
        if re.match(r"\w+:", link):
            continue
        found = path.parent / target if target else path
        assert found.exists(), link
        assert not anchor or anchor in anchors(found), link


def test_every_page_is_in_the_navigation():
    text = (ROOT / "mkdocs.yml").read_text(encoding="utf-8")
    assert set(re.findall(r"[\w-]+\.md", str(yaml.safe_load(text)["nav"]))) == {
        page.name for page in PAGES
    }


def test_the_readme_is_short():
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert len(text.encode()) <= MOST_README_BYTES
    tables = re.findall(r"(?:^\|.*\n)+", text, re.MULTILINE)
    assert max(table.count("\n") for table in tables) <= MOST_TABLE_ROWS + 2  # head and rule
