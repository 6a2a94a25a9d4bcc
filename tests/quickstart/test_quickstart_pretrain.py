"""The quickstart of pretraining says how long it takes, and reads documentation once."""

import pytest

from ultrafastbert.data import docstrings
from ultrafastbert.quickstart import documentation as documentation_module
from ultrafastbert.quickstart import pretrain as job
from ultrafastbert.quickstart.documentation import documentation


@pytest.fixture
def said():
    return []


@pytest.fixture
def show(said):
    def show(what, done=0, total=None, note="", unit=""):
        said.append((what, done, total))

    return show


def test_the_time_of_pretraining_is_measured_and_said(monkeypatch, tmp_path, said, show):
    speeds = {"1x5x16": 1000.0}
    monkeypatch.setattr(
        job, "tokens_per_second", lambda run, seq_length: speeds.get(run.model.ffn_name, 500.0)
    )
    job._say_how_long(job.QuickstartConfig(), tmp_path, show)
    assert said[:4] == [("measuring the speed of models", number, 4) for number in range(4)]
    # 1,000 seconds of the tree, 2,000 of each control.
    assert (
        "pretraining fff, ff, ff_active, none, 1,000,000 tokens each, takes about 1:56:40 on"
        in said[4][0]
    )
    said.clear()
    for name in ("model", "controls/ff", "controls/ff_active"):
        (tmp_path / name).mkdir(parents=True)
        (tmp_path / name / "config.json").touch()
    job._say_how_long(job.QuickstartConfig(), tmp_path, show)
    assert "pretraining none, 1,000,000 tokens each, takes about 0:33:20 on" in said[-1][0]
    said.clear()
    (tmp_path / "controls" / "none").mkdir()
    (tmp_path / "controls" / "none" / "config.json").touch()
    job._say_how_long(job.QuickstartConfig(), tmp_path, show)
    job._say_how_long(job.QuickstartConfig(budget_tokens=50_000), tmp_path / "new", show)
    assert said == []


def test_measuring_leaves_what_is_drawn_afterwards_alone(monkeypatch, tmp_path, show):
    import torch

    monkeypatch.setattr(job, "controls", lambda model: {"none": "none"})
    config = job.QuickstartConfig(recipe="tiny", budget_tokens=200_000)
    monkeypatch.setattr(job, "SEQ_LENGTH", 8)
    torch.manual_seed(0)
    expected = torch.rand(3)
    torch.manual_seed(0)
    job._say_how_long(config, tmp_path, show)
    assert torch.equal(torch.rand(3), expected)


def test_documentation_is_reported_library_by_library(monkeypatch, said, show):
    monkeypatch.setattr(docstrings, "DEFAULT_LIBRARIES", ("python", "numpy"))

    def harvest(on_progress):
        yield "text"
        on_progress("python", 3)
        yield "other text"
        on_progress("numpy", 1)

    monkeypatch.setattr(documentation_module.docstrings, "harvest", harvest)
    assert list(documentation(show)) == ["text", "other text"]
    assert said == [("reading the libraries' documentation", n, 2) for n in range(3)]
