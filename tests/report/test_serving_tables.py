"""Tables of encoders in the engines that serve them, and what else shows those rows."""

import dataclasses

from report_rows import (
    converted_rows,
    engine_row,
    engine_rows,
    engine_skipped_row,
    model_rows,
    speed_rows,
)

from ultrafastbert.report.headline import headline_table
from ultrafastbert.report.latency_quality import latency_quality
from ultrafastbert.report.sections import SECTIONS
from ultrafastbert.report.serving_tables import engine_tables, serving_tables, static_table
from ultrafastbert.rows.environment import environment

NATIVE = ("fff", "ONNX Runtime", "int8", "native")


def lines_of(text):
    return [line.strip("| ").split(" | ") for line in text.splitlines()]


def test_ours_and_the_original_are_each_in_their_fastest_engine():
    (line,) = (line for line in lines_of(serving_tables(engine_rows())) if line[0] == "bert-base")
    assert line[1:6] == [
        "1x6x40",
        "10.0 (20.0)",
        "ONNX Runtime int8",
        "20.0 (40.0)",
        "OpenVINO int8",
    ]
    assert line[6:] == ["9.00", "2.00x (1.90 to 2.10)", "90 %"]


def test_loads_have_tables_of_their_own_and_only_the_last_benchmark_counts():
    old = engine_rows(started="before")
    rows = [*old, *engine_rows(), *engine_rows(load="32x128")]
    text = serving_tables(rows)
    assert "1 text of 128 tokens, one thread" in text
    assert "32 texts of 128 tokens, one thread" in text
    assert text.count("| bert-base |") == 2
    assert serving_tables(old + engine_rows()) == serving_tables(engine_rows())


def test_processors_have_tables_of_their_own():
    def measured(cpu, **fields):
        where = dataclasses.replace(environment(), cpu=cpu, instructions="AVX2")
        return [dataclasses.replace(row, environment=where) for row in engine_rows(**fields)]

    rows = measured("Zen", started="first") + measured("Lake", started="last")
    text = serving_tables(rows)
    assert "1 text of 128 tokens, one thread, Zen (AVX2)" in text
    assert text.count("| bert-base |") == 2
    assert engine_tables(rows).count("Lake (AVX2)") == 1


def test_the_top_lines_are_those_of_the_processor_where_a_model_gains_least():
    saved = dict(model="crammed", load="32x128")
    where = [dataclasses.replace(environment(), cpu=name) for name in ("Zen", "Lake")]
    rows = [
        dataclasses.replace(row, environment=environment)
        for environment, factor in zip(where, (1, 2), strict=True)
        for row in [
            *engine_rows(**saved),
            engine_row(("ff", "PyTorch", "int8", None), factor * 8.0, **saved),
        ]
    ]
    text = headline_table([*model_rows(), *rows])
    assert "Zen" in text
    assert "Lake" not in text


def test_engines_stand_beside_each_other_by_variant():
    text = engine_tables(engine_rows())
    (line,) = (line for line in lines_of(text) if line[:2] == ["ONNX Runtime", "int8"])
    assert line[2:] == ["10.0", "50.0", "25.0", "9.50", "9.00", "2.50x"]
    (line,) = (line for line in lines_of(text) if line[:2] == ["OpenVINO", "int8"])
    assert line[2:] == ["-", "-", "20.0", "-", "-", "-"]
    assert all(len(line) == 8 for line in lines_of(text) if "---" in line[0])


def test_what_padding_costs_is_shown_of_texts_of_mixed_lengths():
    rows = [
        engine_row(NATIVE, 30.0, load="texts", batching="order"),
        engine_row(NATIVE, 20.0, load="texts", batching="sorted"),
        engine_row(
            ("fff", "ultrafastbert-runtime", "int8", "native"),
            10.0,
            load="texts",
            batching="Encoder",
        ),
    ]
    (line,) = (line for line in lines_of(serving_tables(rows)) if line[0] == "bert-base, ours")
    assert line[1:] == ["-", "ultrafastbert-runtime int8", "33.3", "100", "3.00x"]


def test_what_a_process_costs_is_shown_of_sentences():
    rows = engine_rows(load="sentence")
    lines = lines_of(serving_tables(rows))
    (line,) = (line for line in lines if line[:2] == ["ours", "ONNX Runtime int8"])
    assert line[2:] == ["0.25", "0.50", "50.0", "256", "30.0"]


def test_what_was_not_timed_is_said_once_for_each_reason():
    other = engine_skipped_row(("none", "OpenVINO", "int8", "standard"))
    text = serving_tables([*engine_rows(), engine_skipped_row(), other])
    assert text.count("- Not timed (not installed: nncf): OpenVINO int8; bert-base.") == 1


def test_nothing_is_shown_without_rows():
    assert serving_tables(model_rows()) == engine_tables([]) == static_table([]) == ""


def test_published_figures_of_static_embeddings_stand_beside_engines():
    assert "| potion-base-32M, static | 73.93 | 32.67 | 35x |" in static_table(engine_rows())
    assert any(static_table in section.parts for section in SECTIONS)


def test_the_headline_takes_engines_in_the_place_of_pytorch():
    crammed = engine_rows(model="crammed", load="32x128")
    text = headline_table([*model_rows(), *crammed])
    assert "crammed with 1x6x40, 32 texts of 128 tokens, one thread | 10.0 ms" in text
    assert "16 layers" not in text
    saved = engine_rows(model="dense", digest="a b")
    text = headline_table([*speed_rows(), *saved])
    assert "dense with 1x6x40" in text
    assert "dense converted" not in text
    assert "dense converted" in headline_table([*speed_rows(), *engine_rows()])


def test_the_figure_takes_the_engines_of_the_conversion_that_was_scored():
    run = {"model": "dense", "run_ffn": "1x2", "digest": "a b"}
    rows = engine_rows(model="dense", digest="a b")
    rows = [row.__class__(**{**vars(row), **run}) for row in rows]
    figure = latency_quality([*converted_rows(), *speed_rows(), *rows])
    times = [list(line.get_xdata()) for line in figure.axes[0].lines]
    assert [10.0] in times
    assert [4.0] not in times
    before = latency_quality([*converted_rows(), *speed_rows()])
    assert [4.0] in [list(line.get_xdata()) for line in before.axes[0].lines]
