"""The table of pretrained models beside the tree, seed by seed."""

import dataclasses

import pytest
from report_rows import pretrain_rows

from ultrafastbert.report.paired_table import paired_table

LOSSES = {
    "fff": (5.2, 5.1, 5.0),
    "ff": (5.0, 4.9, 4.8),
    "ff_active": (5.3, 5.1, 5.2),
    "none": (5.6, 5.5, 5.4),
}


def paired_rows(losses=LOSSES, **changes):
    (row,) = pretrain_rows(("fff",), (0,))
    return [
        dataclasses.replace(
            row, name=name, seed=seed, validation_loss=loss, **{"paired": True, **changes}
        )
        for name, of_seeds in losses.items()
        for seed, loss in enumerate(of_seeds)
    ]


def cells(text):
    lines = [line.strip("| ").split(" | ") for line in text.splitlines() if line.startswith("|")]
    return {line[0]: line[2:] for line in lines[2:]}


def test_differences_are_those_of_one_seed():
    found = cells(paired_table(paired_rows()))
    assert found["fast feedforward"] == ["5.100 ± 0.100", "-", "-", "67"]
    narrow = found["dense, as wide as the active neurons"]
    assert narrow == ["5.200 ± 0.100", "0.100 ± 0.100", "2 of 3", "50"]
    assert found["dense, all neurons"] == ["4.900 ± 0.100", "-0.200 ± 0.000", "0 of 3", "-"]
    assert found["no feedforward layer"][1:] == ["0.400 ± 0.000", "3 of 3", "-"]


def test_seeds_that_only_one_model_has_are_left_out():
    rows = paired_rows({**LOSSES, "none": (5.6, 5.5)})
    assert cells(paired_table(rows))["no feedforward layer"][1] == "0.400 ± 0.000"
    assert cells(paired_table(rows))["fast feedforward"][3] == "67"


@pytest.mark.parametrize(
    "rows",
    [
        [],
        paired_rows(paired=False),
        paired_rows({name: losses[:1] for name, losses in LOSSES.items()}),
        paired_rows({"none": LOSSES["none"]}),
        [*paired_rows({"fff": LOSSES["fff"]}), *paired_rows({"none": LOSSES["none"]}, tokens=1)],
    ],
)
def test_nothing_is_shown_without_pairs(rows):
    assert paired_table(rows) == ""


def test_no_gap_is_no_share_of_it():
    losses = {**LOSSES, "none": LOSSES["ff"]}
    assert cells(paired_table(paired_rows(losses)))["fast feedforward"][3] == "-"
