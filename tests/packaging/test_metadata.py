"""The packages: what they say of themselves, and that what they need is pinned and small."""

import re

import pytest
from packaging_files import ENCODER, ROOT, RUNTIME, names, project


def test_every_requirement_is_pinned_for_the_readmes_commands():
    pins = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()[1:]
    assert all(re.fullmatch(r"[\w.-]+==[\w.]+", pin) for pin in pins)
    required = set()
    for folder in (ROOT, RUNTIME):
        groups = project(folder)["optional-dependencies"].values()
        required |= names(project(folder)["dependencies"]).union(*map(names, groups))
    ours = {"ultrafastbert", "ultrafastbert-minilm", "ultrafastbert-runtime"}
    assert required - ours <= names(pins)


def test_all_holds_every_extra_that_users_need():
    named = set(re.search(r"\[(.*)\]", project()["optional-dependencies"]["all"][0])[1].split(","))
    assert named == set(project()["optional-dependencies"]) - {"all", "dev", "docs"}


def test_all_packages_name_the_same_pages():
    assert project()["urls"] == project(ENCODER)["urls"] == project(RUNTIME)["urls"]
    citation = (ROOT / "CITATION.cff").read_text(encoding="utf-8")
    assert f'"{project()["urls"]["Homepage"]}"' in citation
    assert f'"{project()["urls"]["Documentation"]}"' in citation
    assert re.search(r"^version: (.*)$", citation, re.MULTILINE)[1] == project()["version"]


def test_every_file_of_the_encoder_goes_into_its_wheel():
    builder = pytest.importorskip("hatchling.builders.wheel").WheelBuilder(str(ENCODER))
    model = ENCODER / "src" / "ultrafastbert_minilm" / "model"
    there = {str(path.relative_to(ENCODER)) for path in model.rglob("*") if path.is_file()}
    assert there <= {file.relative_path for file in builder.recurse_included_files()}
    assert (model / "model.safetensors").is_file()


@pytest.mark.parametrize("folder", [ROOT, ENCODER, RUNTIME], ids=lambda folder: folder.name)
def test_licences_are_there(folder):
    for name in project(folder)["license-files"]:
        assert (folder / name).is_file()


def test_types_are_marked():
    for folder in (ROOT / "src" / "ultrafastbert", RUNTIME / "src" / "ultrafastbert_runtime"):
        assert (folder / "py.typed").is_file()
