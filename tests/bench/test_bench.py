"""Benchmarks: rows, the gate before the clock, dense contestants, timing."""

import math

import pytest
import torch
from kernel_cases import usable
from transformers.pytorch_utils import Conv1D

from ultrafastbert import UltraFastBertConfig, kernels, rows
from ultrafastbert.bench import (
    LayerBenchConfig,
    ModelBenchConfig,
    WidthBenchConfig,
    baselines,
    bench_layer,
    bench_model,
    bench_width,
    contestants,
    gate,
    layer,
    machine,
    timing,
    width,
)
from ultrafastbert.bench.encoders import with_linears
from ultrafastbert.fff.dense import FeedForward
from ultrafastbert.fff.layer import FastFeedForward
from ultrafastbert.kernels.plain import PlainKernel

QUICK = {"hidden_size": 32, "threads": (1,), "seconds": 0.01}


def quick_model(**options):
    sizes = {"vocab_size": 64, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}
    return UltraFastBertConfig(**{**sizes, "tree_depth": 3, "leaf_size": 2, **options})


def broken(name):
    """The gather kernel with an output, or a gradient of w_in, that is off by a thousandth."""

    def forward(*arguments):
        y, leaf, logits = kernels.gather.forward(*arguments)
        return (y * 1.001 if name == "output" else y), leaf, logits

    def backward(*arguments):
        grads = list(kernels.gather.backward(*arguments))
        grads[1] = grads[1] * 1.001 if name == "gradient" else grads[1]
        return tuple(grads)

    return PlainKernel("broken", forward, backward)


@pytest.fixture(autouse=True, scope="module")
def quick_machine():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(machine, "SECONDS", 1e-3)
        patch.setattr(machine, "ATTEMPTS", 1)
        patch.setattr(machine, "cache_bytes", lambda: (2**16, 2**18))
        yield


needs_native = pytest.mark.skipif(not machine.is_available(), reason="no native core")


def bench_quickly(family, **options):
    found = bench_layer(LayerBenchConfig(family, **{**QUICK, **options}))
    return [row for row in found if row["kind"] == "layer"]


@pytest.fixture(scope="module")
def layer_rows():
    return bench_quickly("1x3x2", n_tokens=(1, 40))


def test_layer_rows_hold_every_kernel_and_baseline(layer_rows):
    for pass_name in layer.PASSES:
        for n_tokens in (1, 40):
            case = [r for r in layer_rows if (r["pass"], r["n_tokens"]) == (pass_name, n_tokens)]
            fast = {r["implementation"] for r in case if r["role"] == "fff"}
            assert {"gather", "masked"} <= fast
            assert {r["role"] for r in case} == {"fff", "dense", "ff_active"}
            assert len({r["contestant"] for r in case}) == len(case)


def test_layer_rows_name_their_baselines(layer_rows):
    for row in layer_rows:
        assert row["kind"] == "layer"
        assert row["fastest_dense"].startswith("dense ")
        assert "dense eager float32" in {row["contestant"], *row["speedup_over"]}
        assert 0 < row["latency_us_low"] <= row["latency_us"] <= row["latency_us_high"]
        assert row["us_per_token"] == row["latency_us"] / row["n_tokens"]
        assert row["n_active"] == 5
        assert row["n_neurons"] == {"fff": 23, "dense": 23, "ff_active": 5}[row["role"]]
        assert row["distinct_leaves"] == row["n_leaves"] == 8
        assert row["cache"] == "fresh"
        assert row["n_inputs"] * row["n_tokens"] >= layer.ROTATED_TOKENS
        assert row["rounds"] >= timing.MIN_ROUNDS
        assert 0 <= row["other_load"] <= 1


@needs_native
def test_layer_rows_hold_the_blas_levels_and_why_one_is_missing():
    rows = bench_quickly("1x3", n_tokens=(7,), passes=("forward",))
    found = {row["contestant"]: row for row in rows}
    for level in (1, 2, 3):
        assert found[f"dense blas{level} float32"]["latency_us"] > 0
    assert found["fff blas2 float32"]["routing_agreement"] == 1
    assert "no matrix" in found["fff blas3 float32"]["skipped"]
    training = bench_quickly("1x3", n_tokens=(7,), passes=("forward+backward",))
    assert not any("blas" in row["contestant"] for row in training)


@needs_native
def test_fast_layers_are_set_against_the_definition_and_the_floor(layer_rows):
    for row in layer_rows:
        if row["role"] != "fff":
            assert "floor_us" not in row
            continue
        narrow = row["precision"] != "float32"
        assert row["relative_error"] < (1e-1 if narrow else 1e-5)
        assert row["routing_agreement"] == 1 or (narrow and row["routing_agreement"] >= 0.9)
        assert row["share_of_floor"] == pytest.approx(row["floor_us"] / row["us_per_token"])


@needs_native
def test_narrower_weights_have_a_gate_of_their_own():
    found = bench_quickly("1x3x2", n_tokens=(40,), passes=("forward",))
    case = {row["precision"]: row for row in found if row["implementation"] == "native"}
    assert {"float32", "bfloat16 weights", "int8 weights"} <= set(case)
    for precision, tolerance in (("bfloat16 weights", 2e-2), ("int8 weights", 1e-1)):
        assert 1e-5 < case[precision]["relative_error"] < tolerance
        assert case[precision]["routing_agreement"] >= 0.9
        assert case[precision]["floor_us"] <= case["float32"]["floor_us"]


@needs_native
def test_the_machine_is_measured_first(tmp_path):
    path = tmp_path / "rows.jsonl"
    bench_layer(LayerBenchConfig("1x1", n_tokens=(2,), passes=("forward",), **QUICK), path=path)
    first = rows.read_rows(path)[0]
    assert (first["kind"], first["threads"]) == ("machine", 1)
    assert first["multiply_adds_per_s"] > 1e8


def test_caches_are_hot_fresh_or_cold(monkeypatch):
    flushed = []
    monkeypatch.setattr(layer, "_flush", lambda: lambda: flushed.append(1))
    found = bench_quickly("1x3", n_tokens=(1,), passes=("forward",), cache=("hot", "fresh", "cold"))
    inputs = {row["cache"]: (row["n_inputs"], row["distinct_leaves"]) for row in found}
    assert inputs == {"hot": (1, 1), "fresh": (4096, 8), "cold": (4096, 8)}
    cold = [row for row in found if row["cache"] == "cold"]
    assert {row["calls"] for row in cold if "calls" in row} == {1}
    assert len(flushed) == sum(row.get("rounds", 0) for row in cold)


def test_rows_are_written_case_by_case(tmp_path):
    path = tmp_path / "rows.jsonl"

    def stop(done, total, label):
        assert total == 2
        if done == 1:
            raise KeyboardInterrupt

    config = LayerBenchConfig("1x2", n_tokens=(2,), **QUICK)
    with pytest.raises(KeyboardInterrupt):
        bench_layer(config, stop, path)
    written = rows.read_rows(path, "layer")
    assert {row["pass"] for row in written} == {"forward"}
    assert written[0]["environment"]["threads"] == 1


@pytest.mark.parametrize(("family", "sizes"), [("3x2", (9, 21, 12)), ("4x0", (4, 4, 4))])
def test_layers_of_several_trees_are_timed(family, sizes):
    row = bench_quickly(family, n_tokens=(5,))[0]
    assert (row["n_active"], row["n_neurons"], row["n_leaves"]) == sizes


def test_contestants_that_need_too_much_memory_are_left_out(monkeypatch):
    monkeypatch.setattr(contestants, "MAX_ACTIVATION_BYTES", 1000)
    rows = bench_quickly("1x3x2", n_tokens=(40,), passes=("forward",))
    found = {row["contestant"]: row for row in rows}
    assert "GiB" in found["fff masked float32"]["skipped"]
    assert "latency_us" not in found["fff masked float32"]
    assert found["fff gather float32"]["latency_us"] > 0
    assert found["fff gather float32"]["fastest_dense"] is None


def test_width_rows_grow_with_the_depth(tmp_path):
    path = tmp_path / "rows.jsonl"
    config = WidthBenchConfig((2, 4), hidden_size=32, n_tokens=(1, 8), seconds=0.01)
    found = [row for row in bench_width(config, path=path) if row["kind"] == "width"]
    assert rows.read_rows(path, "width")[0]["family"] == "1x2"
    assert {(row["n_neurons"], row["n_tokens"]) for row in found} == {
        (7, 1),
        (7, 8),
        (31, 1),
        (31, 8),
    }
    assert {row["role"] for row in found} == {"fff", "dense"}
    kernel = usable(3)[0]
    assert {row["implementation"] for row in found if row["role"] == "fff"} == {kernel}


def test_dense_layers_beyond_the_budget_are_left_out():
    config = WidthBenchConfig((2, 3), hidden_size=32, n_tokens=(4,), seconds=1e-9)
    dense = [row for row in bench_width(config) if row.get("role") == "dense"]
    timed = {row["n_neurons"] for row in dense if "latency_us" in row}
    assert timed == {7}
    assert all("budget" in row["skipped"] for row in dense if row["n_neurons"] == 15)


def test_dense_layers_that_do_not_fit_the_memory_are_left_out(monkeypatch):
    monkeypatch.setattr(width, "MEMORY_SHARE", 0.0)
    config = WidthBenchConfig((2,), hidden_size=32, n_tokens=(4,), seconds=0.01)
    assert {row.get("role") for row in bench_width(config)} <= {"fff", None}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"depths": ()}, "depths"),
        ({"depths": (3, 99)}, "depth=99"),
        ({"depths": (28,)}, "GiB"),
        ({"n_tokens": (0,)}, "n_tokens"),
        ({"threads": 0}, "threads=0"),
        ({"seconds": 0.0}, "seconds=0"),
    ],
)
def test_width_config_names_what_is_wrong(options, message):
    with pytest.raises(ValueError, match=message):
        WidthBenchConfig(**options)


@pytest.mark.parametrize("name", ["output", "gradient"])
def test_a_wrong_kernel_is_never_timed(monkeypatch, name):
    monkeypatch.setitem(kernels.KERNELS, "broken", broken(name))
    with pytest.raises(RuntimeError, match=f"broken.*: the {name}.* is off by"):
        bench_quickly("1x3x2", n_tokens=(40,))


def test_undecided_tokens_are_not_compared():
    torch.manual_seed(0)
    fff = FastFeedForward(8, depth=3)
    x = torch.randn(20, 8)
    x[::2] = 0.0  # all logits are zero
    expected = gate.expect(fff, x)
    assert set(expected.chosen.tolist()) <= set(range(1, 20, 2))
    assert not expected.grad_y[::2].any()
    gate.prove("gather", fff, expected, backward=True)
    with pytest.raises(RuntimeError, match="within"):
        gate.expect(fff, torch.zeros(3, 8))


@pytest.mark.parametrize("has_bias", [False, True])
@pytest.mark.parametrize(
    "linear", baselines.available_linears(), ids=lambda x: f"{x.name}-{x.dtype}"
)
def test_dense_contestants_compute_the_layer(linear, has_bias):
    torch.manual_seed(0)
    dense, x = FeedForward(48, 70, bias=has_bias), torch.randn(9, 48)
    run = baselines.build_dense(linear, dense, 9)
    baselines.prove_dense(linear, run, dense, x)
    wrong = baselines.build_dense(linear, FeedForward(48, 70), 9)
    with pytest.raises(RuntimeError, match=f"{linear.name} {linear.precision} is off"):
        baselines.prove_dense(linear, wrong, dense, x)


@pytest.fixture(scope="module")
def model_rows():
    config = ModelBenchConfig(
        quick_model(), shapes=((2, 8),), training_shapes=((2, 8),), threads=1, seconds=0.01
    )
    return bench_model(config)


def test_model_rows_hold_every_control(model_rows):
    variants = {"fff", "fff_masked", "ff", "ff_active", "none"}
    for pass_name in ("forward", "training"):
        case = [row for row in model_rows if row["pass"] == pass_name]
        assert {row["variant"] for row in case} == variants
        for row in case:
            assert row["fastest_dense"].startswith("ff ")
            assert row["tokens_per_s"] == pytest.approx(16e3 / row["latency_ms"])
            assert row["latency_ms_low"] <= row["latency_ms"] <= row["latency_ms_high"]


def test_model_rows_describe_the_models(model_rows):
    widths = {row["variant"]: (row["ffn"], row["n_active"], row["n_neurons"]) for row in model_rows}
    assert widths == {
        "fff": ("1x3x2", 5, 23),
        "fff_masked": ("1x3x2", 5, 23),
        "ff": ("ff:23", 23, 23),
        "ff_active": ("ff:5", 5, 5),
        "none": ("none", 0, 0),
    }
    kernel = {row["variant"]: row["kernel"] for row in model_rows}
    assert kernel["fff_masked"] == "masked"
    assert kernel["fff"] in ("native", "gather")
    assert kernel["ff"] is None


def test_replaced_linear_layers_give_the_models_output():
    torch.manual_seed(0)
    encoder = bench_encoder("ff")
    ids = torch.randint(1, 64, (2, 8))
    with torch.inference_mode():
        expected = encoder(ids).last_hidden_state
        for linear in baselines.available_linears():
            got = with_linears(encoder, linear, 16)(ids).last_hidden_state
            error = (got - expected).norm() / expected.norm()
            assert error < baselines.TOLERANCE[linear.precision], linear
        assert torch.equal(encoder(ids).last_hidden_state, expected)


@pytest.mark.parametrize("linear", baselines.LINEARS, ids=lambda x: f"{x.name}-{x.precision}")
def test_linear_layers_of_others_models_are_replaced_too(linear):
    if linear.name != "eager" and not linear.is_available():
        pytest.skip("PyTorch does not have it on this processor")  # eager bfloat16 is emulated
    torch.manual_seed(0)
    conv, plain = Conv1D(5, 3), torch.nn.Linear(3, 5)
    torch.nn.init.normal_(conv.bias)
    for module in (conv, plain):
        model, x = torch.nn.Sequential(module), torch.randn(2, 4, 3)
        got = with_linears(model, linear, 8, keeps_dtype=True)(x)
        assert got.dtype == torch.float32
        error = (got - model(x)).norm() / model(x).norm()
        assert error < baselines.TOLERANCE[linear.precision]
    with pytest.raises(ValueError, match="Sequential has no linear layers"):
        with_linears(torch.nn.Sequential(torch.nn.GELU()), linear, 8)


def bench_encoder(variant):
    from ultrafastbert import UltraFastBertModel
    from ultrafastbert.bench.model import variants

    return UltraFastBertModel(variants(quick_model())[variant]).eval()


def test_contestants_take_turns(monkeypatch):
    monkeypatch.setattr(timing, "MAX_CALLS", 1)
    calls = []
    runs = {name: lambda number, name=name: calls.append(name) for name in "abc"}
    timings = timing.interleave(runs, seconds=0.0)
    # Each turn is an untimed and a timed call.
    assert "".join(calls).endswith("aabbcc" * timing.MIN_ROUNDS)
    assert [len(timings[name].seconds) for name in "abc"] == [timing.MIN_ROUNDS] * 3


def test_a_slow_contestant_takes_the_fewest_rounds(monkeypatch):
    now, calls = [0.0], []
    monkeypatch.setattr(timing.time, "perf_counter", lambda: now[0])

    def contestant(name, seconds):
        def run(number):
            calls.append(name)
            now[0] += seconds

        return run

    runs = {"slow": contestant("slow", 10.0), "fast": contestant("fast", 0.1)}
    timings = timing.interleave(runs, seconds=1.0)
    assert len(timings["slow"].seconds) == timing.MIN_ROUNDS
    assert len(timings["fast"].seconds) > timing.MIN_ROUNDS
    assert timings["fast"].speedup_over(timings["slow"])[1] == pytest.approx(100)


def test_caches_are_emptied_before_each_timed_call():
    calls = []
    runs = {"a": lambda number: calls.append("a")}
    timing.interleave(runs, seconds=0.0, before=lambda: calls.append("flush"))
    assert calls[-2 * timing.MIN_ROUNDS :] == ["flush", "a"] * timing.MIN_ROUNDS


def test_ratios_are_taken_round_by_round():
    slow, fast = timing.Timing((2.0, 20.0, 4.0), 1), timing.Timing((1.0, 10.0, 2.0), 1)
    assert fast.speedup_over(slow) == (2.0, 2.0, 2.0)
    few = timing.Timing((6.0, 8.0), 1)
    assert fast.speedup_over(few)[1] == 7.0 / 2.0
    assert (slow.median, slow.low, slow.high) == (4.0, pytest.approx(2.4), pytest.approx(16.8))


def test_threads_are_restored():
    before = torch.get_num_threads()

    @timing.use_threads(1)
    def fail():
        assert torch.get_num_threads() == 1
        raise KeyError

    with pytest.raises(KeyError):
        fail()
    assert torch.get_num_threads() == before


def test_other_load_is_a_share():
    load = timing.OtherLoad()
    sum(math.sqrt(i) for i in range(10_000))
    assert 0 <= load.share() <= 1


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


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"model": quick_model(ffn_type="ff")}, "ffn_type='ff'"),
        ({"model": quick_model(num_hidden_layers=0)}, "num_hidden_layers=0"),
        ({"shapes": ((1, 1000),)}, "max_position_embeddings"),
        ({"shapes": ((0, 8),)}, "at least"),
        ({"training_shapes": ((10**9, 8),)}, "GiB"),
        ({"threads": 0}, "threads=0"),
        ({"seconds": -1.0}, "seconds=-1.0"),
    ],
)
def test_model_config_names_what_is_wrong(options, message):
    with pytest.raises(ValueError, match=message):
        ModelBenchConfig(**{"model": quick_model(), **options})
