"""Tables of converted models: runs apart, spreads that show, seeds that are counted."""

from dataclasses import replace

import pytest
from report_rows import converted_row, speed_row, task_fields

from ultrafastbert.report.answer import conversion_caveats
from ultrafastbert.report.convert_tables import (
    convert_layer_table,
    convert_table,
    convert_task_table,
    layerwise_table,
)
from ultrafastbert.report.converted_speed import speed_table
from ultrafastbert.rows.conversion import (
    ConvertLayerRow,
    ConvertLayerwiseRow,
    ConvertTaskRow,
)
from ultrafastbert.rows.row import Score

SCORES = {"none": 0.8, "fff": 0.4, "teacher": 0.0}


def layer(model, ffn, seed, fvu, fvu_after_norm=None, run_ffn=None):
    return ConvertLayerRow(
        model=model,
        layer=0,
        ffn=ffn,
        n_active=5,
        steps=10,
        batch_tokens=64,
        learning_rate=1e-3,
        routing_learning_rate=1e-3,
        split="principal",
        seed=seed,
        fvu=fvu,
        fvu_after_norm=fvu_after_norm,
        run_ffn=run_ffn,
    )


def whole(model, seed, run_ffn, factor=1.0, **run):
    ffn = {"none": "none", "fff": run_ffn, "teacher": None}[model]
    fields = {"run_ffn": run_ffn, "tokens": 2000, "steps": 10} | run
    return converted_row(model, ffn, factor * SCORES[model], seed, **fields)


def run_of(run_ffn, factor, **run):
    return [
        whole("fff", 0, run_ffn, factor, **run),
        whole("none", 0, run_ffn, factor, **run),
        whole("teacher", None, run_ffn, **run),
    ]


def test_each_conversion_has_its_own_table():
    rows = [*run_of("1x2x3", 1.0), *run_of("1x3x2", 0.5)]
    table = convert_table(rows)
    assert table.index("**1x2x3, 2k tokens") < table.index("| fast feedforward (1x2x3) | 5 | 40")
    assert table.index("**1x3x2, 2k tokens") < table.index("| fast feedforward (1x3x2) | 5 | 20")
    assert table.count("| 50 |") == 2  # of the gap, that of the same run
    longer = convert_table([*run_of("1x2x3", 1.0), *run_of("1x2x3", 0.5, steps=20)])
    assert "10 training steps a layer" in longer
    assert "20 training steps a layer" in longer
    other = convert_table([*run_of("1x2x3", 1.0), *run_of("1x2x3", 0.5, original="MiniLM")])
    assert "**MiniLM, 1x2x3, " in other


def test_of_a_gap_of_less_than_a_point_there_is_no_share():
    scores = (Score("stsb", "validation", "spearman", value) for value in (86.5, 86.2, 86.7))
    found = zip(run_of("1x2x3", 1.0), scores, strict=True)
    rows = [replace(row, scores=(score,)) for row, score in found]
    (line,) = (line for line in convert_table(rows).splitlines() if "(1x2x3)" in line)
    assert "| 40.0 | 50 | 86.5 | - |" in line


def test_models_before_training_end_to_end_have_a_table_beside_the_original():
    runs = [*run_of("1x2x3", 1.0), *run_of("1x3x2", 0.5)]
    assert layerwise_table(runs) == ""
    before = [ConvertLayerwiseRow(**vars(row)) for row in run_of("1x2x3", 1.5)[:2]]
    longer = [replace(row, seed=1, end_to_end_steps=9) for row in before]
    assert layerwise_table(runs + before + longer).count("**1x2x3, ") == 1  # the same so far
    table = layerwise_table(runs + before)
    assert "| fast feedforward (1x2x3) | 5 | 60" in table
    assert "| the original |" in table
    assert "1x3x2" not in table  # of which nothing is known before


def test_one_conversion_counts_a_measurement_once():
    rows = run_of("1x2x3", 1.0)
    assert convert_table(rows) == convert_table(rows + rows)
    assert convert_table([]) == convert_layer_table([]) == convert_task_table([]) == ""


def test_a_model_that_is_no_better_than_none_is_said_to_be():
    assert not conversion_caveats(run_of("1x2x3", 1.0))
    rows = [*run_of("1x2x3", 1.0), *run_of("1x3x2", 1.0)]
    rows[3] = replace(rows[3], metrics={"fvu_states": 0.9})
    (caveat,) = conversion_caveats(rows)
    assert "(1x3x2) is no nearer to the original than one without" in caveat
    assert conversion_caveats(rows[:1]) == []


def test_layers_of_other_trees_are_never_averaged():
    rows = [layer("fff", "1x2x3", 0, 0.5), layer("fff", "1x3x2", 0, 0.1)]
    table = convert_layer_table(rows)  # rows that do not say of which run they are
    assert "(1x2x3) | 5 | 50.0 |" in table
    assert "(1x3x2) | 5 | 10.0 |" in table
    rows = [replace(row, run_ffn=row.ffn) for row in rows]
    rows += [layer("none", "none", 0, 1.0, run_ffn=ffn) for ffn in ("1x2x3", "1x3x2")]
    table = convert_layer_table(rows)
    assert table.count("no feedforward layer") == table.count("**1x") == 2


def test_tables_count_seeds():
    rows = [layer("fff", "1x2x3", seed, 0.5) for seed in (3, 7)] + [layer("none", "none", 3, 1.0)]
    heading, _, *lines = convert_layer_table(rows).splitlines()
    assert heading == "**10 training steps a layer, 64 tokens a step**"
    assert lines[0].endswith(" seeds |")
    assert [line[-5:] for line in lines[2:]] == ["| 2 |", "| 1 |"]
    lines = convert_table([*run_of("1x2x3", 1.0), whole("fff", 1, "1x2x3")]).splitlines()
    assert [line[-5:] for line in lines[4:]] == ["| 2 |", "| 1 |", "| - |"]


def test_errors_behind_a_norm_have_a_table_of_their_own():
    rows = [layer("fff", "1x2x3", 0, 0.1, fvu_after_norm=0.4), layer("none", "none", 0, 1.0)]
    _, behind, plain = convert_layer_table(rows).split("\n\n")
    assert "(1x2x3) | 5 | 10.0 |" in plain
    assert "(1x2x3) | 5 | 40.0 |" in behind
    assert "no feedforward layer" not in behind  # was not measured behind it


@pytest.mark.parametrize(
    ("errors", "cell"),
    [
        ([0.01234, 0.01236], "1.235 ± 0.001"),
        ([0.0123, 0.0133], "1.28 ± 0.07"),
        ([0.5012, 0.5014], "50.13 ± 0.01"),
        ([0.51, 0.55], "53.0 ± 2.8"),
        ([0.5, 0.5], "50.0 ± 0.0"),
        ([0.05], "5.00"),
    ],
)
def test_a_spread_shows_where_there_is_one(errors, cell):
    rows = [layer("fff", "1x2x3", seed, error) for seed, error in enumerate(errors)]
    assert f"| 5 | {cell} |" in convert_layer_table(rows)


def test_a_task_that_one_model_lacks_is_left_open():
    def row(model, ffn, task, value):
        n_active = None if ffn is None else 5
        fields = task_fields(task, value, model=model)
        return ConvertTaskRow(**fields, ffn=ffn, n_active=n_active)

    rows = [
        row("fff", "1x2x3", "rte", 60.0),
        row("none", "none", "mrpc", 70.0),
        row("teacher", None, "rte", 65.0),
    ]
    assert "| fast feedforward (1x2x3) | 5 | 60.0 | - | - | - | 1 |" in convert_task_table(rows)


def test_speeds_are_those_of_each_conversions_last_benchmark():
    row, original = speed_row("fff", 2.0), speed_row("teacher", 5.0)
    runs = [replace(r, run_ffn=ffn) for r in (row, original) for ffn in ("1x2x3", "1x3x2")]
    line = "| PyTorch, eager | float32 | 2.00 | 5.00 | 2.50x |"
    assert speed_table(runs).count(line) == 2
    assert "at its fastest" not in speed_table(runs)
    onnx = {"implementation": "ONNX Runtime", "precision": "int8"}
    before = [
        speed_row("fff", 9.0, started="10:00"),
        speed_row("teacher", 1.0, started="10:00", **onnx),
    ]
    after = [replace(each, started="11:00") for each in (row, original)]
    assert line in speed_table(before + after)
    assert "ONNX" not in speed_table(before + after)


def test_trees_are_beside_the_original_in_each_engine_and_at_its_fastest():
    int8 = {"implementation": "dynamic", "precision": "int8"}
    onnx = {"implementation": "ONNX Runtime", "precision": "int8"}
    rows = [
        speed_row("fff", 4.0),
        speed_row("fff_int8", 3.0, weight_dtype="int8"),
        speed_row("fff_int8", 2.5, weight_dtype="int8", **int8),
        speed_row("teacher", 12.0),
        speed_row("teacher", 6.0, **int8),
        speed_row("teacher", 5.0, **onnx),
        speed_row("fff", 10.0, **onnx),
    ]
    text, batch = speed_table(rows).split("32 texts")
    assert "| PyTorch, eager | float32 | 4.00 | 3.00 | 12.0 | 4.00x |" in text
    assert "| PyTorch, dynamic | int8 | - | 2.50 | 6.00 | 2.40x |" in text
    assert "| ONNX Runtime | int8 | 10.0 | - | 5.00 | 0.50x |" in text
    assert "| each at its fastest |  | 4.00 | 2.50 | 5.00 | 2.00x (1.90 to 2.10) |" in text
    assert "| each at its fastest |  | 40.0 | 25.0 | 50.0 | 1.50x (1.40 to 1.60) |" in batch
