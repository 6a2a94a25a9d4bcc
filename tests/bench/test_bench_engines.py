"""Whole encoders in every engine: processes, loads, turns, what is not timed, and rows."""

import json
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest
from transformers import BertConfig, BertModel

from ultrafastbert.bench import EnginesBenchConfig, bench_engines
from ultrafastbert.bench.engines import loads, measurement, models, worker
from ultrafastbert.bench.engines.files import ModelFile
from ultrafastbert.bench.engines.turns import Calls, take_turns
from ultrafastbert.bench.engines.ways import ENCODER, PYTORCH, Way, waves_of
from ultrafastbert.bench.engines.workers import Worker, WorkerError
from ultrafastbert.data.docstrings import LibraryText
from ultrafastbert.rows import read_rows
from ultrafastbert.rows.engines import EngineRow, EngineSkippedRow

ONNX = Way("ONNX Runtime", "int8", "native")
PARAGRAPH = "Return the list of the names. It is sorted by the name of each, and none is left out."


def test_texts_are_batched_as_they_come_or_by_length(texts, tmp_path):
    (tmp_path / "config.json").write_text("{}")
    tokenizer = models.bundled_model() / "tokenizer.json"
    (tmp_path / "tokenizer.json").write_bytes(tokenizer.read_bytes())
    shapes = []

    def run(ids, mask):
        shapes.append(ids.shape)
        return ids[..., None].astype(np.float32)

    encoder = worker.Texts(run, tmp_path, threads=1)
    read = ["a", PARAGRAPH, "b"]
    plain = encoder.encode(read, "order")
    assert [shape[0] for shape in shapes] == [3]
    by_length = encoder.encode(read, "sorted")
    assert [shape[0] for shape in shapes[1:]] == [1, 2]
    np.testing.assert_allclose(by_length, plain, rtol=1e-6)


def test_means_are_of_tokens_without_padding():
    ids, mask = worker.padded([[5, 6], [7]], padding=9)
    assert ids.tolist() == [[5, 6], [7, 9]]
    states = ids[..., None].astype(np.float32)
    assert worker.mean(lambda ids, mask: states, ids, mask).ravel().tolist() == [5.5, 7.0]


def test_a_turn_times_each_call_after_those_that_warm_up():
    numbers = []
    answer = worker.turn(numbers.append, {"first": 4, "calls": 3, "warm_up": 2})
    assert numbers == [2, 3, 4, 5, 6]
    assert len(answer["seconds"]) == 3
    assert answer["peak_bytes"] > 10 * 2**20


def test_processes_take_turns_and_the_quick_go_on():
    taken = []

    def turn_of(name, seconds):
        def turn(calls, first, warm_up):
            taken.append((name, warm_up))
            return {"seconds": [seconds] * calls, "processor_s": seconds * calls, "peak_bytes": 1}

        return turn

    found = take_turns({"quick": turn_of("quick", 0.05), "slow": turn_of("slow", 1.0)}, 1e-3)
    assert [len(calls.rounds) for calls in found.values()] == [3, 3]
    # What a call takes is found first, in two steps where it is quick.
    assert [name for name, _ in taken] == ["quick", *["quick", "slow"] * 4]
    assert found["quick"].calls == 2
    assert found["quick"].cores_used == pytest.approx(1.0)
    assert [warm_up for name, warm_up in taken if name == "slow"] == [0, 1, 0, 0]
    found = take_turns({"quick": turn_of("quick", 0.1), "slow": turn_of("slow", 1.0)}, 0.31)
    assert len(found["quick"].rounds) > 3 == len(found["slow"].rounds)


def test_a_timing_has_a_number_for_each_round():
    calls = Calls(2, [[1.0, 3.0], [2.0, 2.0]])
    assert calls.timing.seconds == (2.0, 2.0)
    assert calls.seconds == [1.0, 3.0, 2.0, 2.0]


def test_ways_say_what_they_lack(monkeypatch):
    assert Way("OpenVINO", "int8", "standard", ("no_such_package",)).lacks() == (
        "not installed: no_such_package"
    )
    monkeypatch.setattr("ultrafastbert.bench.engines.ways.has_bfloat16", lambda: False)
    assert PYTORCH[0].lacks() is None
    assert "bfloat16" in PYTORCH[1].lacks()
    assert not any(way.engine == "OpenVINO" for way in waves_of(has_trees=True)[1])
    assert ONNX.batchings(64) == ("order", "sorted")
    assert Way(ENCODER, "int8").batchings(64) == ("Encoder",)


@pytest.fixture
def texts(monkeypatch):
    """Short documentation as the tokenizer of the bundled encoder reads it."""
    pytest.importorskip("ultrafastbert_minilm")
    long = " ".join([PARAGRAPH] * 40)
    found = [LibraryText("python", "a.py", f"{PARAGRAPH}\n{long}\n{PARAGRAPH} Then it ends.")]
    monkeypatch.setattr(loads.docstrings, "harvest", lambda libraries: found)
    return loads.Texts(models.bundled_model())


def test_loads_are_tokens_of_one_length_or_texts_of_mixed_ones(texts, tmp_path):
    load = texts.write("2x8", tmp_path)
    assert np.load(tmp_path / load.file).shape == (loads.N_BATCHES, 2, 8)
    assert (load.n_texts, load.n_tokens, load.is_text) == (2, 16, False)
    load = texts.write("texts", tmp_path)
    batches = json.loads((tmp_path / load.file).read_text())
    assert {len(batch) for batch in batches} == {64}
    lengths = {len(text.split()) for text in batches[0]}
    assert len(lengths) > 1
    assert max(lengths) < loads.LONGEST
    load = texts.write("sentence", tmp_path)
    batches = json.loads((tmp_path / load.file).read_text())
    assert all(len(batch) == 1 and batch[0].endswith((".", "out.")) for batch in batches)
    assert texts.samples().shape[1] == loads.LONGEST


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"models": ("bert",)}, "models: 'bert' is unknown; choose of minilm-l6"),
        ({"loads": ("32",)}, "loads: '32' is unknown; write sentence, texts or BATCHxTOKENS"),
        ({"loads": ("1x500",)}, "of at most 128 tokens"),
        ({"loads": ()}, "at least one"),
        ({"threads": 0}, "threads=0"),
        ({"seconds": 0.0}, "seconds=0.0"),
    ],
)
def test_what_cannot_be_measured_is_named(options, message):
    with pytest.raises(ValueError, match=message):
        EnginesBenchConfig(**options)


@pytest.fixture
def tiny(monkeypatch, texts):
    """A size of its own, of which two variants are compared."""
    sizes = {"hidden_size": 32, "num_attention_heads": 2, "intermediate_size": 64}
    dense = (BertModel, lambda: BertConfig(**sizes, num_hidden_layers=1, vocab_size=30522))
    monkeypatch.setitem(models._DENSE, "tiny", dense)
    monkeypatch.setitem(models.TREES, 32, "1x3x4")
    all_variants = models._converted

    def some(*arguments):
        found = all_variants(*arguments)
        return {name: found[name] for name in ("fff", "ff", "none")}

    monkeypatch.setattr(models, "_converted", some)
    return "tiny"


def test_variants_differ_in_their_layers_alone(tiny):
    compared = models.of_shape(tiny)
    found = {name: make() for name, make in compared.variants.items()}
    assert {name: models.ffn_of(model) for name, model in found.items()} == {
        "fff": "1x3x4",
        "ff": "original",
        "none": "none",
    }
    word = [model.embeddings.word_embeddings.weight for model in found.values()]
    assert all(weight.equal(word[0]) for weight in word)


def test_the_crammed_size_has_a_dense_twin_of_all_neurons():
    compared = models.of_shape("crammed")
    assert compared.run_ffn == "1x11"
    assert set(compared.variants) == {"fff", "ff", "ff_active", "none"}


class FakeWorker:
    """Answers at once; the vectors of one engine are wrong, another fails."""

    started: ClassVar[list] = []

    def __init__(self, way, model, loads, threads):
        self.way, self.model = way, model
        self.import_s = self.load_s = 0.1
        self.process = type("process", (), {"pid": 1})

    def __enter__(self):
        if self.way.engine == "fails":
            raise WorkerError("it needs something")
        FakeWorker.started.append(self.way)
        return self

    def __exit__(self, *_):
        pass

    def vectors(self, load, batching):
        if self.way.engine == "dies":
            raise WorkerError("killed")
        return np.eye(4)[:, ::-1] if self.way.engine == "wrong" else np.eye(4), 1.0

    def ask(self, calls, **_):
        seconds = 0.2 if self.way == PYTORCH[0] else 0.1
        return {"seconds": [seconds] * calls, "processor_s": calls * seconds, "peak_bytes": 5}


@pytest.fixture
def faked(monkeypatch, tiny):
    """The benchmark with processes that are not started."""
    engines = [PYTORCH[0], *(Way(name, "int8") for name in ("good", "wrong", "dies", "fails"))]
    monkeypatch.setattr(measurement, "Worker", FakeWorker)
    monkeypatch.setattr(measurement, "waves_of", lambda has_trees: (engines[:1], engines[1:]))
    FakeWorker.started = []
    return EnginesBenchConfig(("tiny",), loads=("2x8", "texts"), threads=1, seconds=1e-3)


def test_what_is_wrong_is_not_timed_and_said(faked, tmp_path):
    path = tmp_path / "rows.jsonl"
    rows = bench_engines(faked, path=path)
    assert rows == read_rows(path)
    timed = [row for row in rows if isinstance(row, EngineRow)]
    assert {row.engine for row in timed} == {"PyTorch", "good"}
    assert {row.variant for row in timed} == {"fff", "ff", "none"}
    reasons = {row.engine: row.reason for row in rows if isinstance(row, EngineSkippedRow)}
    assert reasons.keys() == {"wrong", "dies", "fails"}
    assert reasons["wrong"] == "other vectors than PyTorch's: mean cosine 0.0000"
    assert (reasons["dies"], reasons["fails"]) == ("killed", "it needs something")


def test_ratios_are_to_the_same_way_without_layers_and_to_the_fastest_original(faked):
    rows = [row for row in bench_engines(faked) if isinstance(row, EngineRow)]
    (row,) = (
        row for row in rows if (row.variant, row.engine, row.load) == ("fff", "PyTorch", "2x8")
    )
    assert row.speed_over_none.median == pytest.approx(1.0)
    assert row.speed_over_original.median == pytest.approx(0.5)
    assert (row.latency_ms, row.latency_ms_p99) == (pytest.approx(200), pytest.approx(200))
    assert row.texts_per_s == pytest.approx(2 / 0.2)
    assert (row.n_tokens, row.batching, row.ffn) == (16, None, "1x3x4")
    assert {row.batching for row in rows if row.load == "texts"} == {"order", "sorted"}
    (none,) = {row.speed_over_none for row in rows if row.variant == "none"}
    assert none is None


def test_cases_that_have_rows_are_left_out(faked, tmp_path):
    path = tmp_path / "rows.jsonl"
    bench_engines(EnginesBenchConfig(("tiny",), loads=("2x8",), threads=1, seconds=1e-3), path=path)
    n_rows = len(read_rows(path))
    new = bench_engines(faked, path=path)
    assert {row.load for row in new} == {"texts"}
    assert len(read_rows(path)) == n_rows + len(new)
    said = []
    assert bench_engines(faked, lambda what, *_: said.append(what), path) == []
    assert said == ["tiny: measured before, see the rows"]


def test_a_model_that_does_not_fit_memory_is_not_opened(faked, monkeypatch):
    monkeypatch.setattr(measurement, "ENGINE_BYTES", 2**60)
    rows = bench_engines(faked)
    assert all("GiB are free" in row.reason for row in rows)
    assert FakeWorker.started == []


def test_saved_models_stand_beside_their_original_and_no_other(tmp_path, tiny):
    dense, converted = tmp_path / "dense", tmp_path / "converted"
    made = models.of_shape(tiny).variants
    model_class, config = models._DENSE[tiny]
    model_class(config()).save_pretrained(dense)
    made["fff"]().save_pretrained(converted)
    compared = models.of_folders(converted, dense)
    assert (compared.name, compared.run_ffn) == ("dense", "1x3x4")
    with pytest.raises(ValueError, match="dense is not the folder of a converted model"):
        models.of_folders(dense, dense)
    two = config()
    two.num_hidden_layers = 2
    model_class(two).save_pretrained(tmp_path / "two")
    with pytest.raises(ValueError, match=r"two is not the original of .* it has 2 layers, not 1"):
        models.of_folders(converted, tmp_path / "two")


@pytest.mark.engines
def test_a_process_says_in_one_line_why_it_ended(tmp_path):
    pytest.importorskip("onnxruntime")
    model = ModelFile(Path(tmp_path), "missing.onnx")
    with pytest.raises(WorkerError, match="missing") as raised:
        Worker(Way("ONNX Runtime", "float32"), model, tmp_path, 1).__enter__()
    assert "\n" not in str(raised.value)


@pytest.mark.slow
@pytest.mark.engines
def test_engines_encode_what_pytorch_does(tiny, monkeypatch, tmp_path):
    for package in ("onnx", "onnxscript", "onnxruntime", "openvino", "ultrafastbert_runtime"):
        pytest.importorskip(package)
    every = measurement.waves_of
    few = PYTORCH[:1]  # a process of PyTorch takes seconds to start
    monkeypatch.setattr(measurement, "waves_of", lambda has_trees: (few, every(has_trees)[1]))
    config = EnginesBenchConfig(
        (tiny,), loads=("sentence", "2x8", "texts"), threads=1, seconds=0.01
    )
    rows = bench_engines(config, path=tmp_path / "rows.jsonl")
    timed = {(row.variant, row.engine, row.precision) for row in rows if isinstance(row, EngineRow)}
    for variant in ("fff", "ff", "none"):
        for engine in ("PyTorch", "ONNX Runtime", ENCODER):
            assert (variant, engine, "float32") in timed
    assert ("ff", "OpenVINO", "float32") in timed
    for row in rows:
        if isinstance(row, EngineRow):
            assert row.cosine > 0.99
            assert row.cores_used < 1.5
            assert row.peak_bytes > 2**25
        else:
            assert "bfloat16" in row.reason or "not installed" in row.reason
    runtime = [row for row in rows if row.engine == ENCODER and isinstance(row, EngineRow)]
    pytorch = [row for row in rows if row.engine == "PyTorch" and isinstance(row, EngineRow)]
    assert max(row.peak_bytes for row in runtime) < min(row.peak_bytes for row in pytorch)
