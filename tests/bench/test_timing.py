"""Timing in turn: rounds, ratios, threads, other load."""

import math

import pytest
import torch

from ultrafastbert.bench import timing


def test_implementations_take_turns(monkeypatch):
    monkeypatch.setattr(timing, "MAX_CALLS", 1)
    calls = []
    runs = {name: lambda number, name=name: calls.append(name) for name in "abc"}
    timings = timing.interleave(runs, seconds=0.0)
    # Each turn is an untimed and a timed call.
    assert "".join(calls).endswith("aabbcc" * timing.MIN_ROUNDS)
    assert [len(timings[name].seconds) for name in "abc"] == [timing.MIN_ROUNDS] * 3


def test_a_slow_implementation_takes_the_fewest_rounds(monkeypatch):
    now, calls = [0.0], []
    monkeypatch.setattr(timing.time, "perf_counter", lambda: now[0])

    def taking(name, seconds):
        def run(number):
            calls.append(name)
            now[0] += seconds

        return run

    runs = {"slow": taking("slow", 10.0), "fast": taking("fast", 0.1)}
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
