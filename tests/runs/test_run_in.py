"""Holding a folder for a run, checking what it reads, and claiming it: one way for all runs."""

import json

import pytest

from ultrafastbert.runs import run_folder
from ultrafastbert.runs.status import counting, duration, show_nothing


def test_a_folder_is_held_checked_and_claimed(tmp_path):
    out = tmp_path / "out"
    with run_folder.run_in(out, "run.json", resume=False, inputs=["hf:name", tmp_path]) as claim:
        assert [path.name for path in out.iterdir()] == [run_folder.LOCK]
        claim({"a": 1})
    assert [path.name for path in out.iterdir()] == ["run.json"]
    assert json.loads((out / "run.json").read_text())["a"] == 1
    (out / "model.safetensors").touch()
    with (
        pytest.raises(FileExistsError, match="--resume"),
        run_folder.run_in(out, "run.json", resume=False),
    ):
        pytest.fail("the work has begun")
    with run_folder.run_in(out, "run.json", resume=True) as claim:
        claim({"a": 1})
        with pytest.raises(ValueError, match="differs in a;"):
            claim({"a": 2})


def test_inputs_that_the_run_would_overwrite_are_refused(tmp_path):
    with (
        pytest.raises(ValueError, match="where the run writes"),
        run_folder.run_in(tmp_path, "run.json", False, [tmp_path / "work" / "text.txt"]),
    ):
        pytest.fail("the work has begun")


def test_a_folder_of_a_run_that_failed_at_once_goes_away(tmp_path):
    with pytest.raises(KeyError), run_folder.run_in(tmp_path / "out", "run.json", resume=False):
        raise KeyError
    assert list(tmp_path.iterdir()) == []


def test_a_status_counts():
    said = []
    counting(lambda *what: said.append(what), "texts", 7)(3)
    assert said == [("texts", 3, 7, "", "")]
    show_nothing("texts", 3, 7, "note", unit="texts")
    assert duration(3725.9) == "1:02:05"
