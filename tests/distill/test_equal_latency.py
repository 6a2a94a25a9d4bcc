"""The dense layer of equal latency: how wide it is."""

import pytest
from short_runs import ALL_STAGES

from ultrafastbert.distill import conversion, convert
from ultrafastbert.distill.equal_latency import time_equal_width, widest
from ultrafastbert.report.convert_tables import equal_width


def test_the_dense_layer_of_equal_latency_is_timed_once(
    dense_folder, text_file, tmp_path, monkeypatch
):
    def interrupt(what, done, total, *_):
        if what.startswith("layer 1"):
            raise KeyboardInterrupt

    def again(*args, **options):
        raise AssertionError("timed again")

    out = tmp_path / "out"
    with pytest.raises(KeyboardInterrupt):
        convert(dense_folder, out, text_file, ALL_STAGES, on_status=interrupt)
    monkeypatch.setattr(conversion, "time_equal_width", again)
    rows = convert(dense_folder, out, text_file, ALL_STAGES, resume=True)
    assert len({row.ffn for row in rows if getattr(row, "model", None) == "ff_equal_latency"}) == 1


def test_a_dense_layer_of_equal_latency_is_never_narrower_than_the_path():
    row = time_equal_width(16, "1x2x9", seconds=0.0)
    assert row.n_active == 11
    assert [case.n_tokens for case in row.measured] == [128, 4096]
    assert row.width == max(case.width for case in row.measured)
    for case in row.measured:
        assert case.timed[0].width == 16
        assert case.width % 8 == 0
        assert case.width >= 16
        assert all(us > 0 for timed in case.timed for us in timed.us_per_token.values())


@pytest.mark.parametrize("narrowest", [8, 16, 48])
@pytest.mark.parametrize("last", [0, 8, 16, 40, 56, 1000])
def test_the_widest_that_keeps_up_is_found(narrowest, last):
    asked = []

    def keeps_up(width):
        asked.append(width)
        return width <= last

    expected = max(narrowest, last // 8 * 8)
    assert widest(keeps_up, narrowest) == expected
    assert len(asked) == len(set(asked))
    assert set(width % 8 for width in asked) == {0}


def test_equal_width_is_between_those_of_known_errors():
    errors = {8: 0.4, 16: 0.3, 64: 0.1}
    assert equal_width(0.3, errors) == (pytest.approx(16), False)
    assert equal_width(0.2, errors) == (pytest.approx(32), False)
    assert equal_width(0.05, errors) == (64, True)
    assert equal_width(0.5, errors) == (8, False)
