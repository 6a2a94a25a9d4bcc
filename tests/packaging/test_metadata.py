"""The two packages: what they say of themselves, and that what they need is pinned and small."""

import itertools
import re
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
ENCODER = ROOT / "packages" / "ultrafastbert-minilm"
if sys.version_info >= (3, 11):
    import tomllib
else:
    tomllib = pytest.importorskip("tomli")


def project(folder):
    return tomllib.loads((folder / "pyproject.toml").read_text(encoding="utf-8"))["project"]


def names(requirements):
    """The distributions that requirements name, as pip compares them."""
    found = (re.match(r"[\w.-]+", requirement)[0] for requirement in requirements)
    return {re.sub(r"[-_.]+", "-", name).lower() for name in found}


PROJECT = project(ROOT)
EXTRAS = PROJECT["optional-dependencies"]


def test_every_requirement_is_pinned_for_the_readmes_commands():
    pins = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()[1:]
    assert all(re.fullmatch(r"[\w.-]+==[\w.]+", pin) for pin in pins)
    required = names([*PROJECT["dependencies"], *itertools.chain(*EXTRAS.values())])
    assert required - {"ultrafastbert", "ultrafastbert-minilm"} <= names(pins)


def test_all_holds_every_extra_that_users_need():
    named = set(re.search(r"\[(.*)\]", EXTRAS["all"][0])[1].split(","))
    assert named == set(EXTRAS) - {"all", "dev", "docs"}


def test_both_packages_name_the_same_pages():
    assert PROJECT["urls"] == project(ENCODER)["urls"]
    citation = (ROOT / "CITATION.cff").read_text(encoding="utf-8")
    assert f'"{PROJECT["urls"]["Homepage"]}"' in citation
    assert f'"{PROJECT["urls"]["Documentation"]}"' in citation
    assert re.search(r"^version: (.*)$", citation, re.MULTILINE)[1] == PROJECT["version"]


def test_every_file_of_the_encoder_goes_into_its_wheel():
    builder = pytest.importorskip("hatchling.builders.wheel").WheelBuilder(str(ENCODER))
    model = Path("src", "ultrafastbert_minilm", "model")
    packed = {file.relative_path for file in builder.recurse_included_files()}
    there = {str(p.relative_to(ENCODER)) for p in (ENCODER / model).rglob("*") if p.is_file()}
    assert there <= packed
    assert str(model / "model.safetensors") in there


@pytest.mark.parametrize("folder", [ROOT, ENCODER], ids=["ultrafastbert", "ultrafastbert-minilm"])
def test_licences_are_there(folder):
    for name in project(folder)["license-files"]:
        assert (folder / name).is_file()


def test_types_are_marked():
    assert (ROOT / "src" / "ultrafastbert" / "py.typed").is_file()
