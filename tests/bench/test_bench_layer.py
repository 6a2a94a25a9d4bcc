"""The benchmark of a layer: its rows, caches, what is left out."""

import pytest
from quick_bench import QUICK, bench_quickly, needs_native, quick_machine

from ultrafastbert import rows
from ultrafastbert.bench import LayerBenchConfig, bench_layer, implementations, layer, timing
from ultrafastbert.rows.layers import LayerRow, SkippedRow


@pytest.fixture(autouse=True, scope="module")
def measured_quickly():
    with quick_machine():
        yield


@pytest.fixture(scope="module")
def layer_rows():
    return bench_quickly("1x3x2", n_tokens=(1, 40))


@pytest.mark.slow
def test_layer_rows_hold_every_kernel_and_baseline(layer_rows):
    for pass_name in layer.PASSES:
        for n_tokens in (1, 40):
            case = [r for r in layer_rows if (r.pass_name, r.n_tokens) == (pass_name, n_tokens)]
            fast = {r.implementation for r in case if r.role == "fff"}
            assert {"gather", "masked"} <= fast
            assert {r.role for r in case} == {"fff", "dense", "ff_active"}
            assert len({r.name for r in case}) == len(case)


def test_layer_rows_name_their_baselines(layer_rows):
    for row in layer_rows:
        assert row.fastest_dense.startswith("dense ")
        assert "dense eager float32" in {row.name, *row.speedup_over}
        assert 0 < row.latency_us_low <= row.latency_us <= row.latency_us_high
        assert row.us_per_token == row.latency_us / row.n_tokens
        assert row.n_active == 5
        assert row.n_neurons == {"fff": 23, "dense": 23, "ff_active": 5}[row.role]
        assert row.distinct_leaves == row.n_leaves == 8
        assert row.cache == "fresh"
        assert row.n_inputs * row.n_tokens >= layer.ROTATED_TOKENS
        assert row.rounds >= timing.MIN_ROUNDS
        assert 0 <= row.other_load <= 1


@needs_native
def test_layer_rows_hold_the_blas_levels_and_why_one_is_missing():
    rows = bench_quickly("1x3", n_tokens=(7,), passes=("forward",))
    found = {row.name: row for row in rows}
    for level in (1, 2, 3):
        assert found[f"dense blas{level} float32"].latency_us > 0
    assert found["fff blas2 float32"].routing_agreement == 1
    assert "no matrix" in found["fff blas3 float32"].reason
    training = bench_quickly("1x3", n_tokens=(7,), passes=("forward+backward",))
    assert not any("blas" in row.name for row in training)


@needs_native
def test_fast_layers_are_set_against_the_definition_and_the_roofline(layer_rows):
    for row in layer_rows:
        if row.role != "fff":
            assert row.roofline_us is None
            continue
        narrow = row.precision != "float32"
        assert row.relative_error < (1e-1 if narrow else 1e-5)
        assert row.routing_agreement == 1 or (narrow and row.routing_agreement >= 0.9)
        assert row.roofline_fraction == pytest.approx(row.roofline_us / row.us_per_token)


@needs_native
def test_narrower_weights_have_a_gate_of_their_own():
    found = bench_quickly("1x3x2", n_tokens=(40,), passes=("forward",))
    case = {row.precision: row for row in found if row.implementation == "native"}
    assert {"float32", "bfloat16 weights", "int8 weights"} <= set(case)
    for precision, tolerance in (("bfloat16 weights", 2e-2), ("int8 weights", 1e-1)):
        assert 1e-5 < case[precision].relative_error < tolerance
        assert case[precision].routing_agreement >= 0.9
        assert case[precision].roofline_us <= case["float32"].roofline_us


@pytest.mark.slow
@needs_native
def test_the_machine_is_measured_first(tmp_path):
    path = tmp_path / "rows.jsonl"
    bench_layer(LayerBenchConfig("1x1", n_tokens=(2,), passes=("forward",), **QUICK), path=path)
    first = rows.read_rows(path)[0]
    assert (first.kind, first.threads) == ("machine", 1)
    assert first.fma_per_s > 1e8


@pytest.mark.slow
def test_caches_are_hot_fresh_or_cold(monkeypatch):
    flushed = []
    monkeypatch.setattr(layer, "_flush", lambda: lambda: flushed.append(1))
    found = bench_quickly("1x3", n_tokens=(1,), passes=("forward",), cache=("hot", "fresh", "cold"))
    inputs = {row.cache: (row.n_inputs, row.distinct_leaves) for row in found}
    assert inputs == {"hot": (1, 1), "fresh": (4096, 8), "cold": (4096, 8)}
    cold = [row for row in found if row.cache == "cold" and isinstance(row, LayerRow)]
    assert {row.calls for row in cold} == {1}
    assert len(flushed) == sum(row.rounds for row in cold)


def test_rows_are_written_case_by_case(tmp_path):
    path = tmp_path / "rows.jsonl"

    def stop(done, total, label):
        assert total == 2
        if done == 1:
            raise KeyboardInterrupt

    config = LayerBenchConfig("1x2", n_tokens=(2,), **QUICK)
    with pytest.raises(KeyboardInterrupt):
        bench_layer(config, stop, path)
    written = rows.read_rows(path, LayerRow)
    assert {row.pass_name for row in written} == {"forward"}
    assert written[0].environment.threads == 1


@pytest.mark.slow
@pytest.mark.parametrize(("family", "sizes"), [("3x2", (9, 21, 12)), ("4x0", (4, 4, 4))])
def test_layers_of_several_trees_are_timed(family, sizes):
    row = bench_quickly(family, n_tokens=(5,))[0]
    assert (row.n_active, row.n_neurons, row.n_leaves) == sizes


def test_implementations_that_need_too_much_memory_are_left_out(monkeypatch):
    monkeypatch.setattr(implementations, "MAX_ACTIVATION_BYTES", 1000)
    rows = bench_quickly("1x3x2", n_tokens=(40,), passes=("forward",))
    found = {row.name: row for row in rows}
    assert isinstance(found["fff masked float32"], SkippedRow)
    assert "GiB" in found["fff masked float32"].reason
    assert found["fff gather float32"].latency_us > 0
    assert found["fff gather float32"].fastest_dense is None


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"family": "11"}, "family '11'"),
        ({"family": "1x40"}, "depth=40"),
        ({"family": "0x3"}, "n_trees=0"),
        ({"family": "1x28"}, "GiB"),
        ({"n_tokens": ()}, "n_tokens"),
        ({"n_tokens": (0,)}, "n_tokens"),
        ({"n_tokens": (10**12,)}, "GiB"),
        ({"hidden_size": 0}, "hidden_size"),
        ({"passes": ("backward",)}, "backward"),
        ({"threads": (0,)}, "threads=0"),
        ({"threads": (10**6,)}, "threads=1000000"),
        ({"seconds": 0}, "seconds=0"),
        ({"cache": ("warm",)}, "cache=.*warm.*hot, fresh, cold"),
        ({"cache": ()}, "cache"),
    ],
)
def test_layer_config_names_what_is_wrong(options, message):
    with pytest.raises(ValueError, match=message):
        LayerBenchConfig(**options)
