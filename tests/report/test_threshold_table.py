"""The thresholds of the native core: their table, from rows, and what the sweep varies."""

import runpy

import pytest
from packaging_files import RUNTIME

from ultrafastbert.report.threshold_table import threshold_table
from ultrafastbert.rows.layers import ThresholdRow
from ultrafastbert.rows.row import Spread

SWEEP = str(RUNTIME / "csrc" / "bench" / "sweep.py")
CASE = {"constant": "top_levels", "family": "1x11", "hidden_size": 768, "n_tokens": 16384}
CASE |= {"pass_name": "forward", "threads": 1, "rounds": 9}


def row(value, chosen, micros, ratio):
    times = {"us_per_token": micros, "us_per_token_low": micros - 0.1}
    times |= {"us_per_token_high": micros + 0.1, "time_over_chosen": Spread(*ratio)}
    return ThresholdRow(**CASE, value=value, chosen=chosen, **times)


def test_the_chosen_value_is_marked():
    rows = [row(5, False, 1.0, [1.0, 1.1, 1.2]), row(6, True, 0.9, [1, 1, 1])]
    *_, other, chosen = threshold_table(rows).splitlines()
    case = "| `top_levels` | 1x11 of 768 | 16,384 | forward"
    assert other == f"{case} | 5 | 1.00 (0.900 to 1.10) | 1.10 (1.00 to 1.20) |"
    assert chosen == f"{case} | **6** | **0.900** (0.800 to 1.00) | 1 |"


def test_no_table_without_rows():
    assert threshold_table([]) == ""


def test_the_sweep_varies_constants_that_the_core_has():
    sweep = runpy.run_path(SWEEP)
    for constant, *_, values in sweep["CASES"]:
        assert sweep["chosen_value"](constant) in values
    with pytest.raises(ValueError, match="nothing_tokens"):
        sweep["chosen_value"]("nothing_tokens")
