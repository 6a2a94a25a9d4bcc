"""Benchmarks: BLAS levels, the machine's limits, and the roofline computed from them."""

import pytest
import torch
from kernel_cases import usable

from ultrafastbert.bench import blas, fast, gate, machine
from ultrafastbert.bench.roofline import LayerCall, count_rows, roofline_us
from ultrafastbert.fff.dense import FeedForward
from ultrafastbert.fff.layer import FastFeedForward
from ultrafastbert.rows.layers import MachineRow

needs_native = pytest.mark.skipif(not machine.is_available(), reason="no native core")
# One FMA a second per unit; bytes are ten times dearer at each level.
LIMITS = MachineRow(
    threads=1,
    fma_per_s=1e6,
    l2_bytes=1000,
    l2_bytes_per_s=1e6,
    llc_bytes=10_000,
    llc_bytes_per_s=1e5,
    dram_bytes_per_s=1e4,
    write_bytes_per_s=2e4,
)


def call(**options):
    sizes = {"n_tokens": 2, "hidden_size": 5, "output_size": 20, "n_active": 3, "n_rows": 200}
    ranks = torch.tensor([0, 1, 2, 3])
    rest = {"ranks": ranks, "n_calls": 1, "live_tokens": 2, "cold": False, "backward": False}
    return LayerCall(**{**sizes, **rest, **options})


@needs_native
@pytest.mark.parametrize("family", [(1, 0, 5), (1, 3, 1), (2, 4, 1), (1, 3, 4), (3, 2, 3)])
@pytest.mark.parametrize("n_tokens", [0, 1, 2, 50])
@pytest.mark.parametrize("level", blas.LEVELS)
def test_blas_levels_compute_the_layer(family, n_tokens, level):
    torch.manual_seed(0)
    layer = FastFeedForward(9, family[1], family[0], family[2], output_size=7)
    torch.nn.init.normal_(layer.b_in)
    x = torch.randn(n_tokens, 9)
    y, leaf = blas.fast_forward(level, layer)(x)
    with torch.inference_mode():
        torch.testing.assert_close(y, layer(x), rtol=1e-5, atol=1e-5)
        assert torch.equal(leaf, layer.visited_leaves(x))


@needs_native
@pytest.mark.parametrize("level", blas.LEVELS)
def test_blas_levels_compute_a_dense_layer(level):
    dense, x = FeedForward(9, 300, 7), torch.randn(600, 9)
    with torch.inference_mode():
        torch.testing.assert_close(blas.dense_forward(level, dense)(x), dense(x))


@needs_native
def test_blas_levels_refuse_other_layers():
    with pytest.raises(ValueError, match="GELU"):
        blas.fast_forward(1, FastFeedForward(4, 2, activation="relu"))


def test_every_fast_implementation_agrees_with_the_definition():
    torch.manual_seed(0)
    layer = FastFeedForward(32, 4, leaf_size=2)
    truth = gate.find_truth(layer, list(torch.randn(4, 50, 32)))
    assert len(truth.calls) == 3
    for chosen in fast.available_fast(layer, threads=1):
        found = gate.agree(chosen.build(layer).route, truth)
        gate.check_agreement(chosen.name, found, truth, chosen.tolerance, chosen.min_routing)


def test_other_paths_are_not_accepted():
    torch.manual_seed(0)
    layer = FastFeedForward(32, 4)
    truth = gate.find_truth(layer, [torch.randn(50, 32)])
    other = FastFeedForward(32, 4)
    found = gate.agree(lambda x: (other(x), other.visited_leaves(x)), truth)
    assert found.routing_agreement < 0.5
    with pytest.raises(RuntimeError, match=r"6\.0% of the paths are the definition's"):
        gate.check_agreement("other", found, truth, 1e-2, 0.9)


def test_large_layers_are_held_to_the_gather_kernel(monkeypatch):
    torch.manual_seed(0)
    layer, inputs = FastFeedForward(32, 4), [torch.randn(50, 32)]
    exact = gate.find_truth(layer, inputs)
    monkeypatch.setattr(gate, "DEFINED_NEURONS", 1)
    monkeypatch.delattr(gate.reference, "all_logits")
    gathered = gate.find_truth(layer, inputs)
    assert torch.equal(gathered.leaf, exact.leaf)
    torch.testing.assert_close(gathered.y, exact.y, rtol=1e-5, atol=1e-5)


@needs_native
def test_limits_are_measured():
    machine.measure.cache_clear()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(machine, "SECONDS", 2e-3)
        patch.setattr(machine, "cache_bytes", lambda: (2**18, 2**22))
        limits = machine.measure(2)
    machine.measure.cache_clear()
    assert limits.threads == 2
    assert (limits.l2_bytes, limits.llc_bytes) == (2**19, 2**22)
    rates = [value for name, value in vars(limits).items() if name.endswith("per_s")]
    assert all(1e7 < rate < 1e14 for rate in rates)


@needs_native
def test_a_working_set_must_be_large_enough_to_read():
    with pytest.raises(ValueError, match="n_bytes=100"):
        machine._native_bench.read_rate(100, 0.001)


def test_cache_sizes_are_those_that_linux_tells(tmp_path):
    for index, (level, kind, size) in enumerate(
        [(1, "Data", "32K"), (2, "Unified", "512K"), (3, "Unified", "16384K")]
    ):
        folder = tmp_path / f"index{index}"
        folder.mkdir()
        for name, text in (("level", level), ("type", kind), ("size", size)):
            (folder / name).write_text(f"{text}\n")
    assert machine.cache_bytes(tmp_path) == (2**19, 2**24)
    assert machine.cache_bytes(tmp_path / "none") == (machine.ASSUMED_L2, machine.ASSUMED_LLC)


def test_the_roofline_of_arithmetic():
    fast_memory = {name: 1e12 for name in ("l2_bytes_per_s", "llc_bytes_per_s")}
    limits = MachineRow(**{**vars(LIMITS), **fast_memory})
    # 3 neurons a token, 5 + 20 multiply-adds each, a million a second
    assert roofline_us(limits, call()) == pytest.approx(75)
    assert roofline_us(limits, call(weight_bytes=1)) == pytest.approx(75 / 4)
    assert roofline_us(limits, call(backward=True, n_rows=0)) == pytest.approx(225)


def test_the_roofline_of_memory():
    limits = MachineRow(**{**vars(LIMITS), "fma_per_s": 1e15})
    # x 40 B and y 160 B per call; 4 rows of 100 B; all in the second-level cache
    assert roofline_us(limits, call()) == pytest.approx((40 + 160 + 400) / 2)
    # ranks 10 and more do not fit 1000 B, 100 and more not 10,000 B
    ranks = torch.tensor([0, 9, 10, 99, 100])
    expected = 40 + 160 + 200 + 10 * 200 + 100 * 100
    assert roofline_us(limits, call(ranks=ranks)) == pytest.approx(expected / 2)
    assert roofline_us(limits, call(ranks=ranks, weight_bytes=2)) == pytest.approx(
        (40 + 160 + 3 * 50 + 10 * 2 * 50) / 2
    )
    # x of a rotation that only the last level holds
    assert roofline_us(limits, call(live_tokens=100)) == pytest.approx((400 + 160 + 400) / 2)


def test_the_roofline_of_memory_when_cold():
    limits = MachineRow(**{**vars(LIMITS), "fma_per_s": 1e15})
    expected = 100 * (40 + 400) + 50 * 160
    assert roofline_us(limits, call(cold=True)) == pytest.approx(expected / 2)


def test_the_roofline_of_the_backward_pass():
    limits = MachineRow(**{**vars(LIMITS), "fma_per_s": 1e15})
    # also grad_y 160 B, grad_x 40 B, and the gradients of 200 rows, too many for a cache
    expected = 600 + 160 + 40 + 50 * 200 * 100
    assert roofline_us(limits, call(backward=True)) == pytest.approx(expected / 2)


def test_rows_are_counted_once_a_call():
    torch.manual_seed(0)
    layer = FastFeedForward(8, depth=2)
    x = torch.randn(100, 8)
    ranks, n_calls = count_rows(layer, [x, x])
    assert (sorted(ranks.tolist()), n_calls) == (sorted([*range(7), *range(7)]), 2)
    one, n_calls = count_rows(layer, [x[:1]])
    assert (one.tolist(), n_calls) == ([0, 1, 2], 1)


def test_kernels_are_timed_by_the_table():
    names = {chosen.name for chosen in fast.available_fast(FastFeedForward(4, 2), threads=2)}
    assert names == set(usable(2))
