"""Progress as plain lines, under a clock that tests set."""

from itertools import pairwise

import pytest

from ultrafastbert.cli.lines import Lines


class Clock:
    """A clock that tests set."""

    seconds = 100.0

    def __call__(self):
        return self.seconds


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def lines(clock):
    return Lines("rows: out/rows.jsonl", write=[].append, now=clock)


def written(lines):
    return lines.write.__self__


def pass_seconds(lines, seconds):
    for _ in range(seconds):
        lines.now.seconds += 1
        lines.tick()


def test_stages_and_time_give_lines(lines):
    pass_seconds(lines, 2)
    assert written(lines) == ["0:00:00 starting; rows: out/rows.jsonl"]
    lines("layer 0: 1x2", 0, 3000, unit="steps")
    assert written(lines)[1:] == ["0:00:02 layer 0: 1x2: 0/3,000 steps (0 %)"]
    pass_seconds(lines, 10)
    assert len(written(lines)) == 2
    lines("layer 0: 1x2", 1200, 3000, "loss 2.345", "steps")
    pass_seconds(lines, 5)
    half = "layer 0: 1x2: 1,200/3,000 steps (40 %)"
    # How long it takes is said once the first steps are done.
    assert written(lines)[2:] == [f"0:00:13 {half}, 109 steps/s, 0:00:16 left, loss 2.345"]
    pass_seconds(lines, 11)
    assert written(lines)[3:] == [f"0:00:28 {half}, 46 steps/s, 0:00:39 left, loss 2.345"]
    lines("scoring", 0, 1)
    lines("reading text", 7, unit="tokens")
    pass_seconds(lines, 30)
    lines.end()
    assert written(lines)[4:] == [
        "0:00:28 scoring",
        "0:00:28 reading text: 7 tokens so far",
        "0:00:43 reading text: 7 tokens so far",
        "0:00:58 reading text: 7 tokens so far",
        "0:00:58 done",
    ]


def test_no_half_minute_is_silent(lines, clock):
    lines("timing 24 models")
    times = []
    for _ in range(3600):
        n_before = len(written(lines))
        pass_seconds(lines, 1)
        times += [clock.seconds] * (len(written(lines)) > n_before)
    gaps = [b - a for a, b in pairwise(times)]
    assert min(gaps[2:]) >= 10
    assert max(gaps) <= 30
    assert written(lines)[-1] == "1:00:00 timing 24 models: for 1:00:00"


def test_a_run_that_goes_on_is_timed_from_where_it_was(lines):
    lines("end to end", 1000, 2000)
    pass_seconds(lines, 10)
    lines("end to end", 1005, 2000)
    pass_seconds(lines, 5)
    assert written(lines)[-1] == "0:00:11 end to end: 1,005/2,000 (50 %), 0.45/s, 0:36:29 left"


def test_lines_of_the_first_moments_wait(lines):
    lines("loading the model")
    pass_seconds(lines, 1)
    assert written(lines) == []
    lines.end()
    assert written(lines) == [
        "0:00:00 starting; rows: out/rows.jsonl",
        "0:00:00 loading the model",
        "0:00:01 done",
    ]


def test_commands_that_answer_soon_say_nothing(clock):
    lines = Lines(None, answers=True, write=[].append, now=clock)
    lines("loading the model")
    pass_seconds(lines, 9)
    assert written(lines) == []
    pass_seconds(lines, 1)
    assert written(lines) == ["0:00:00 starting", "0:00:00 loading the model"]
    lines.end()
    assert written(lines)[2:] == ["0:00:10 done"]
    lines = Lines(None, answers=True, write=[].append, now=clock)
    lines.end()
    assert written(lines) == []


def test_no_half_minute_is_silent_while_nothing_advances(lines):
    """A machine may be so busy that no step ends for an hour, or no stage begins."""
    pass_seconds(lines, 60)
    times = ("0:00:15", "0:00:30", "0:00:45", "0:01:00")
    assert written(lines)[1:] == [f"{at} starting: for {at}" for at in times]
    lines("pretraining fff", 4096, 1_000_000, "step 1/310", "tokens")
    for _ in range(12):
        n_before = len(written(lines))
        pass_seconds(lines, 30)
        assert len(written(lines)) > n_before
        assert "pretraining fff: 4,096/1,000,000 tokens (0 %), step 1/310" in written(lines)[-1]
