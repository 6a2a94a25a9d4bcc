"""The benchmark over the number of neurons."""

import pytest
from kernel_cases import usable
from quick_bench import quick_machine

from ultrafastbert import rows
from ultrafastbert.bench import WidthBenchConfig, bench_width, width
from ultrafastbert.rows.layers import LayerCase, WidthRow


@pytest.fixture(autouse=True, scope="module")
def measured_quickly():
    with quick_machine():
        yield


@pytest.mark.slow
def test_width_rows_grow_with_the_depth(tmp_path):
    path = tmp_path / "rows.jsonl"
    config = WidthBenchConfig((2, 4), hidden_size=32, n_tokens=(1, 8), seconds=0.01)
    found = [row for row in bench_width(config, path=path) if isinstance(row, WidthRow)]
    assert rows.read_rows(path, WidthRow)[0].family == "1x2"
    assert {(row.n_neurons, row.n_tokens) for row in found} == {
        (7, 1),
        (7, 8),
        (31, 1),
        (31, 8),
    }
    assert {row.role for row in found} == {"fff", "dense"}
    kernel = usable(3)[0]
    assert {row.implementation for row in found if row.role == "fff"} == {kernel}


def test_dense_layers_beyond_the_budget_are_left_out():
    config = WidthBenchConfig((2, 3), hidden_size=32, n_tokens=(4,), seconds=1e-9)
    dense = [row for row in bench_width(config) if getattr(row, "role", "") == "dense"]
    timed = {row.n_neurons for row in dense if isinstance(row, WidthRow)}
    assert timed == {7}
    assert all("budget" in row.reason for row in dense if row.n_neurons == 15)


def test_dense_layers_that_do_not_fit_the_memory_are_left_out(monkeypatch):
    monkeypatch.setattr(width, "MEMORY_SHARE", 0.0)
    config = WidthBenchConfig((2,), hidden_size=32, n_tokens=(4,), seconds=0.01)
    assert {row.role for row in bench_width(config) if isinstance(row, LayerCase)} <= {"fff"}


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
