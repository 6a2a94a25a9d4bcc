"""Retrieval: ranks against a loop, tasks from small files, what is wrong with files of pairs."""

import gzip
import json

import numpy as np
import pytest
import torch
from encoders import save_dense_encoder
from typer.testing import CliRunner

from ultrafastbert.cli import app
from ultrafastbert.evaluate.metrics import METRICS, Needs
from ultrafastbert.evaluate.retrieval import RETRIEVAL_TASKS, documentation, recipe
from ultrafastbert.evaluate.retrieval.measure import load_sets, measure, ranks
from ultrafastbert.evaluate.retrieval.pair_file import read_pairs
from ultrafastbert.evaluate.retrieval.recipe import evaluate_retrieval
from ultrafastbert.evaluate.retrieval.task import Sources, retrieval_set
from ultrafastbert.models.converted.folder import load_dense, save_converted
from ultrafastbert.models.converted.model import converted_copy
from ultrafastbert.report.retrieval_table import retrieval_table
from ultrafastbert.rows import read_rows
from ultrafastbert.rows.retrieval import RetrievalRow


@pytest.fixture(autouse=True)
def no_libraries(monkeypatch):
    monkeypatch.setattr(documentation, "harvest", lambda libraries: iter([]))
    task = RETRIEVAL_TASKS["documentation"]
    monkeypatch.setitem(RETRIEVAL_TASKS, "documentation", _without_pairs(task))


def _without_pairs(task):
    return type(task)(task.name, task.title, lambda sources: None)


@pytest.fixture
def glue(tmp_path):
    rows = {
        "qnli": [
            {"question": f"what is {i}?", "sentence": f"{i // 2} is a number.", "label": int(i > 5)}
            for i in range(8)
        ],
        "qqp": [
            {"question1": f"why {i}?", "question2": f"why {i + 1}?", "label": int(i != 1)}
            for i in range(4)
        ],
    }
    for task, each in rows.items():
        (tmp_path / "glue" / task).mkdir(parents=True)
        text = "".join(json.dumps(row) + "\n" for row in each)
        (tmp_path / "glue" / task / "validation.jsonl").write_text(text)
    return tmp_path / "glue"


@pytest.fixture
def text(documents, tmp_path):
    path = tmp_path / "held_out.txt"
    path.write_text("\n\n".join(documents[:20]))
    return path


def test_queries_find_the_nearest_passage_that_is_not_themselves():
    pairs = [("a", "x"), ("b", "y"), ("a", "z"), ("c", "b"), ("d", "d")]
    found = retrieval_set("mine", pairs)
    assert (found.queries, found.passages) == (["a", "b", "c"], ["x", "y", "z", "b"])
    assert (found.wanted, found.excluded) == ([[0, 2], [1], [3]], [None, 3, None])
    angles = {"a": 0.0, "x": 1.0, "z": 0.2, "y": 0.28, "b": 0.25, "c": 0.9}
    turned = torch.tensor(list(angles.values()))
    vectors = dict(zip(angles, torch.stack([turned.cos(), turned.sin()], 1), strict=True))
    assert ranks(found, vectors).tolist() == [1, 1, 3]
    values = measure(found, vectors, vectors)
    assert values["recall_at_1"] == pytest.approx(200 / 3)
    assert values["mrr"] == pytest.approx(700 / 9)
    assert values["cosine_mean"] == pytest.approx(1.0)
    assert values["cosine_min"] == pytest.approx(1.0)


def test_one_vector_for_all_texts_finds_nothing():
    found = retrieval_set("mine", [("a", "x"), ("b", "y")])
    same = dict.fromkeys("abxy", torch.ones(2))
    assert ranks(found, same).tolist() == [2, 2]


def test_metrics_of_ranks():
    values = {
        n: m.compute(np.array([1, 2, 4])) for n, m in METRICS.items() if m.needs is Needs.RANKS
    }
    assert values == pytest.approx({"recall_at_1": 100 / 3, "mrr": 100 * 1.75 / 3})


def test_tasks_without_their_data_are_left_out(glue, text):
    assert load_sets(Sources()) == []
    assert [each.task for each in load_sets(Sources(glue, text))] == list(RETRIEVAL_TASKS)[:3]
    questions, duplicates = load_sets(Sources(glue))
    assert (len(questions.queries), len(questions.passages)) == (6, 3)
    assert (duplicates.queries, duplicates.passages) == (
        ["why 0?", "why 2?", "why 3?"],
        ["why 1?", "why 3?", "why 4?"],
    )


def test_documentation_gives_the_first_two_paragraphs_of_each_file(monkeypatch):
    files = [documentation.LIBRARIES[0], "json", "First.\nSecond.\nThird."], ["numpy", "x", "One."]
    harvested = [type("Text", (), {"text": text})() for _, _, text in files]
    monkeypatch.setattr(documentation, "harvest", lambda libraries: iter(harvested))
    assert list(documentation.DOCUMENTATION.pairs(Sources())) == [("First.", "Second.")]


def test_files_of_pairs_may_be_gzipped(tmp_path):
    lines = b'{"query": "a", "passage": " b "}\n\n{"query": "c", "passage": "d", "id": 3}\n'
    (tmp_path / "pairs.jsonl").write_bytes(lines)
    (tmp_path / "pairs.jsonl.gz").write_bytes(gzip.compress(lines))
    for name in ("pairs.jsonl", "pairs.jsonl.gz"):
        assert list(read_pairs(tmp_path / name)) == [("a", "b"), ("c", "d")]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (b"query,passage", "line 2 is not JSON; write a query and a passage a line"),
        (b"[" * 100_000, "line 2 is not JSON"),
        (b'["a", "b"]', "line 2 needs texts as query and passage"),
        (b'{"query": "a"}', "line 2 needs texts as query and passage"),
        (b'{"query": "a", "passage": " "}', "neither of them empty"),
        (b'{"query": "a", "passage": 3}', "line 2 needs texts"),
        (b"\xff", "line 2 is not UTF-8 text"),
    ],
)
def test_what_is_no_pair_is_named(tmp_path, line, message):
    path = tmp_path / "pairs.jsonl"
    path.write_bytes(b'{"query": "a", "passage": "b"}\n' + line + b"\n")
    with pytest.raises(ValueError, match=message):
        list(read_pairs(path))


def test_a_missing_or_broken_file_and_a_single_passage_are_errors(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no file .*missing.jsonl"):
        load_sets(Sources(), [tmp_path / "missing.jsonl"])
    (tmp_path / "cut.jsonl.gz").write_bytes(gzip.compress(b'{"query": "a"}')[:-5])
    with pytest.raises(ValueError, match="broken gzip file"):
        load_sets(Sources(), [tmp_path / "cut.jsonl.gz"])
    (tmp_path / "one.jsonl").write_text('{"query": "a", "passage": "b"}\n')
    with pytest.raises(ValueError, match=r"one.jsonl has 1 passages; give pairs"):
        load_sets(Sources(), [tmp_path / "one.jsonl"])


@pytest.fixture
def folders(tokenizer, tmp_path):
    """Folders of a dense model, of a converted one, and of a copy of the first."""
    dense = save_dense_encoder(tokenizer, tmp_path / "dense")
    torch.manual_seed(0)
    save_converted(converted_copy(load_dense(dense), ["1x2x3", "none"]), dense, tmp_path / "fast")
    return dense, tmp_path / "fast", save_dense_encoder(tokenizer, tmp_path / "same")


def test_models_stand_beside_their_original(folders, glue, text):
    dense, fast, same = folders
    rows = evaluate_retrieval(fast, Sources(glue, text), (), dense, [same])
    assert read_rows(fast / "rows.jsonl", RetrievalRow) == rows
    models = dict.fromkeys(row.model for row in rows)
    assert list(models) == [recipe.ORIGINAL, recipe.MODEL, "same"]
    of = {(row.model, row.task): row for row in rows}
    for task in list(RETRIEVAL_TASKS)[:3]:
        original, copy = of["teacher", task], of["same", task]
        assert copy.metrics["recall_at_1"] == original.metrics["recall_at_1"]
        assert copy.metrics["cosine_min"] > 0.9999
        assert of["fff", task].metrics["cosine_mean"] < 0.9999
        assert "cosine_mean" not in original.metrics
        assert of["fff", task].ffn == ("1x2x3", "none")
    table = retrieval_table(rows)
    assert "R@1, %: the original" in table
    assert "question to passage (QNLI validation)" in table
    assert retrieval_table([]) == ""


def test_the_command_prints_the_table_and_takes_own_pairs(folders, tmp_path):
    dense, fast, _ = folders
    pairs = tmp_path / "mine.jsonl"
    pairs.write_text('{"query": "a tree", "passage": "an oak"}\n{"query": "a", "passage": "b"}\n')
    arguments = ["retrieval", fast, "--original", dense, "--retrieval", pairs]
    done = CliRunner().invoke(app, [*map(str, arguments), "--rows", str(tmp_path / "rows.jsonl")])
    assert done.exit_code == 0, done.output
    assert "| mine.jsonl | 2 | 2 |" in done.output
    assert len(read_rows(tmp_path / "rows.jsonl")) == 2
    assert not (fast / "rows.jsonl").exists()
