"""The text mix: where its texts are from, their lengths, and what is kept out of it."""

import json

import pytest

from ultrafastbert.data.docstrings import LibraryText
from ultrafastbert.distill import text_mix
from ultrafastbert.distill.text_mix import write_text_mix
from ultrafastbert.evaluate.retrieval import documentation
from ultrafastbert.evaluate.retrieval.task import Sources

SECRET = "This sentence is what models are scored on, and so it is a secret."


@pytest.fixture(autouse=True)
def libraries(monkeypatch):
    def harvest(names):
        held_out = documentation.STANDARD_LIBRARY in names
        for name in "bc":
            own = f"Held out {name}.\nAlso held out {name}."
            yield LibraryText("a", name, own if held_out else f"A note.\nOn {name}.")

    for module in (documentation, text_mix):
        monkeypatch.setattr(module, "harvest", harvest)


@pytest.fixture
def glue(tmp_path):
    def write(task, split, rows):
        path = tmp_path / "glue" / task / f"{split}.jsonl"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))

    def pairs(texts):
        return [{"question": f"What is {t}?", "sentence": t, "label": 0} for t in texts]

    write("qnli", "train", pairs(["Ice", SECRET.upper(), "Two\nlines"]))
    write("qnli", "validation", pairs([SECRET, "Another one."]))
    for split in ("train", "validation"):
        rows = [{"sentence1": f"{split} {i}", "sentence2": "x", "label": 1.0} for i in range(2)]
        write("stsb", split, rows)
    return tmp_path / "glue"


def test_what_models_are_scored_on_is_kept_out(glue, documents, tmp_path):
    prose, held_out = tmp_path / "prose.txt", tmp_path / "held_out.txt"
    seen = [line for document in documents[20:40] for line in document.splitlines()]
    prose.write_text("\n".join([*seen, *documents[:5], f"Before. {SECRET} After it."]))
    held_out.write_text("\n\n".join(documents[:5]))
    counts = write_text_mix(tmp_path / "mix.txt", Sources(glue, held_out), prose)
    lines = (tmp_path / "mix.txt").read_text().splitlines()
    assert sum(counts.values()) == len(lines) == len(set(lines))
    assert list(counts) == ["prose", "STS-B", "QNLI", "documentation"]
    assert counts["documentation"] == 3
    assert {"Ice", "What is Ice?", "Two lines", "train 0", "A note."} <= set(lines)
    for text in ("secret", "SECRET", "validation 0", "Another one.", "eld out"):
        assert not any(text in line for line in lines), text


def test_the_mix_depends_on_its_sources_alone(glue, documents, tmp_path):
    prose = tmp_path / "prose.txt"
    prose.write_text("\n\n".join(documents))
    for name in ("a", "b"):
        write_text_mix(tmp_path / name, Sources(glue), prose)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_packages_of_the_documentation_task_are_not_read():
    found = text_mix._libraries()
    assert not {"python", "pandas", "networkx", "sklearn"} & set(found)
    assert {"numpy", "torch"} <= set(found)
