"""Reports: tables, figures, and pages, from made-up rows."""

from dataclasses import replace

import pytest
from report_rows import (
    all_rows,
    converted_rows,
    curve_rows,
    glue_row,
    glue_rows,
    layer_rows,
    machine_rows,
    model_rows,
    pretrain_rows,
    skipped_row,
    speed_rows,
    sweep_rows,
    width_rows,
)

from ultrafastbert import rows
from ultrafastbert.bench import LayerBenchConfig, bench_layer
from ultrafastbert.report import cells as cell_texts
from ultrafastbert.report import layer_tables, tables, write_report
from ultrafastbert.report.answer import answers, caveats
from ultrafastbert.report.figures import FIGURES, draw_all
from ultrafastbert.report.paper_table import paper_table
from ultrafastbert.report.sections import CAPTIONS, SECTIONS
from ultrafastbert.report.titles import CACHE_TITLES
from ultrafastbert.rows.layers import LayerRow


def write(path, found):
    for row in found:
        rows.append_row(path, row)
    return path


def cells(table, start):
    line = next(line for line in table.splitlines() if line.startswith(f"| {start}"))
    return [cell.strip() for cell in line.strip("|").split("|")]


def test_layer_table_names_every_baseline():
    table = layer_tables.layer_table(layer_rows())
    line = cells(table, "100 | native float32")
    assert line[2] == "10.0 (9.00 to 11.0)"
    assert line[3:] == [
        "100x",
        "50x (packed float32)",
        "20x (packed bfloat16)",
        "0.50x (packed bfloat16)",
        "120x",
        "40%",
        "1,994 of 2,048",
    ]
    assert "12 of 4095 neurons active" in table


def test_layer_table_has_a_line_for_narrower_weights():
    line = cells(layer_tables.layer_table(layer_rows()), "100 | native int8 weights")
    assert line[3:6] == ["200x", "100x (packed float32)", "40x (packed bfloat16)"]


def test_layer_table_tells_the_states_of_the_caches_apart():
    found = [*layer_rows(), *layer_rows(cache="cold"), *layer_rows(cache="hot")]
    table = layer_tables.layer_table(found)
    assert all(table.count(title) == 1 for title in CACHE_TITLES.values())


def test_layers_without_a_roofline_or_blas_have_tables():
    plain = [replace(row, roofline_us=None, roofline_fraction=None) for row in layer_rows()]
    assert cells(layer_tables.layer_table(plain), "100 | native float32")[-2] == "-"
    assert paper_table(plain) != ""
    assert paper_table([row for row in plain if "blas" not in row.name]) == ""


def test_the_papers_table_compares_what_is_written_alike():
    table = paper_table([*layer_rows(), *layer_rows(1000)])
    assert "1,000 tokens" in table
    assert "2311.10770" in table
    line = cells(table, "BLAS level 1")
    assert line[1:4] == ["4,000", "20.0", "200x"]
    assert line[4:6] == ["25x (packed float32)", "10x (packed bfloat16)"]
    assert line[6:] == ["20%", "130.7x (CPU)", "48x (CPU)"]
    assert cells(table, "BLAS level 3")[1:4] == ["800", "-", "-"]
    assert cells(table, "native float32")[1:4] == ["500", "10.0", "50x"]
    assert cells(table, "native int8 weights")[1:4] == ["200", "5.00", "40x"]
    assert paper_table(layer_rows(threads=2)) == ""


def test_other_layers_have_nothing_published():
    table = paper_table(layer_rows(depth=7))
    assert "published" not in table.lower()
    assert len(cells(table, "BLAS level 1")) == 7


def test_width_table_has_a_line_for_each_width():
    table = layer_tables.width_table(width_rows())
    assert cells(table, "65,535")[1:] == [
        "16",
        "10.0",
        "40%",
        "5.00 (int8 weights)",
        "200",
        "20x (packed bfloat16)",
    ]
    assert cells(table, "15")[1] == "4"


def test_machine_table_has_the_last_measurement_of_each_number_of_threads():
    table = layer_tables.machine_table([*machine_rows(), *machine_rows()])
    assert cells(table, "2")[1:] == ["1.00", "2.00", "3.00", "4.00", "5.00"]
    assert table.count("\n| 2 |") == 1


def test_the_last_measurement_replaces_earlier_ones():
    twice = [replace(row, us_per_token=1.0) for row in layer_rows()] + layer_rows()
    assert layer_tables.layer_table(twice) == layer_tables.layer_table(layer_rows())


def test_skipped_implementations_are_shown_as_missing():
    found = [row for row in layer_rows() if row.implementation != "masked"]
    over = {other: x for other, x in found[0].speedup_over.items() if "masked" not in other}
    ours = replace(found[0], speedup_over=over)
    table = layer_tables.layer_table([ours, *found[1:], skipped_row()])
    assert cells(table, "100 | native float32")[-3] == "-"
    assert any("2 GiB): fff masked float32" in text for text in caveats([skipped_row()]))


def test_details_hold_every_implementation():
    table = layer_tables.layer_details([*layer_rows(), *layer_rows(1000)])
    assert cells(table, "dense eager")[1:] == ["1,000", "1,000"]


def test_model_table_compares_with_the_dense_twin():
    table = tables.model_table(model_rows())
    assert cells(table, "fast feedforward")[-1] == "5.0x"
    assert cells(table, "dense, all neurons")[-1] == "1"
    assert cells(table, "no feedforward")[-1] == "10x"


def test_pretrain_table_gives_mean_and_spread():
    line = cells(tables.pretrain_table(pretrain_rows()), "fff")
    assert line[3:7] == ["12.3M", "6M", "5.500 ± 0.010", "30.0 ± 0.0"]
    assert line[-1] == "0, 1, 2"


def test_glue_table_has_published_rows_and_marks_subsets():
    table = tables.glue_table([*glue_rows(), *glue_rows("sst2", subset=True)])
    assert cells(table, "ours")[1:4] == ["56.0 ± 1.0", "56.0 ± 1.0\\*", "56.0"]
    assert cells(table, "UltraFastBERT-1x11 (published)")[1:3] == ["57.8", "89.7"]
    assert "2311.10770" in table
    assert "a part of the rows" in table
    assert "published" not in tables.glue_table(glue_rows(), with_published=False).lower()


def test_a_task_that_a_model_lacks_has_no_average():
    other = [replace(row, model="other") for row in glue_rows("cola")]
    table = tables.glue_table([*glue_rows(), *other])
    assert cells(table, "ours")[2:4] == ["-", "-"]


def test_other_tasks_have_a_table_of_their_own():
    found = [*glue_rows("reviews"), glue_row("library", 61.0, model="m")]
    table = tables.task_table(found)
    assert cells(table, "model")[1:3] == ["reviews (accuracy, %)", "library (accuracy, %)"]
    assert cells(table, "m ")[1:3] == ["-", "61.0"]
    assert tables.glue_table(found) == ""


@pytest.mark.parametrize(
    ("value", "text"), [(0.0, "0"), (0.012345, "0.0123"), (12.345, "12.3"), (123456.0, "123,456")]
)
def test_numbers_have_three_digits(value, text):
    assert cell_texts.number(value) == text


def test_counts_are_short():
    assert [cell_texts.count(n) for n in (12, 4095, 6e6, 2.5e9)] == ["12", "4.09k", "6M", "2.5B"]


def test_the_answer_says_how_good_and_how_fast():
    text = "\n".join(answers(all_rows()))
    assert "12 of 4,095 neurons" in text
    assert "fff 50 %" in text
    assert "as wide as the active neurons 25 %" in text
    assert "100x over a dense layer" in text
    assert "with int8 weights, 40x over that" in text
    assert "5.0x over its dense twin" in text
    assert "always naming one class: 5.0 %" in text


def test_caveats_are_honest():
    text = "\n".join(caveats([*pretrain_rows(["fff", "none"], seeds=(0,)), *layer_rows()]))
    assert "one seed" in text
    assert "Controls that were not trained: dense, all neurons" in text
    assert "whole model's speed was not measured" in text
    loaded = [replace(row, other_load=0.5) for row in layer_rows()]
    assert any("50 % of the machine" in caveat for caveat in caveats(loaded))


@pytest.mark.slow
def test_figures_are_drawn_as_png_and_svg(tmp_path):
    figures = draw_all(all_rows(), tmp_path)
    assert set(figures) == set(FIGURES)
    for path in figures.values():
        assert path.read_bytes().startswith(b"\x89PNG")
        assert "<svg" in path.with_suffix(".svg").read_text()


def test_the_same_rows_give_the_same_drawing(tmp_path):
    for name in "ab":
        draw_all(pretrain_rows(), tmp_path / name)
    a, b = ((tmp_path / name / "quality.svg").read_bytes() for name in "ab")
    assert a == b


@pytest.mark.slow
def test_a_report_of_all_kinds(tmp_path):
    path = write(tmp_path / "rows.jsonl", all_rows())
    page = write_report(path, tmp_path / "out", "Trial & error", "runs/fff").read_text()
    assert "<title>Trial &amp; error</title>" in page
    assert page.count('src="data:image/png;base64,') == len(FIGURES) == len(CAPTIONS)
    assert "<table>" in page
    text = (tmp_path / "out" / "report.md").read_text()
    assert text.index("Speed of the layer") < text.index("Speed of the whole model")
    assert 'pipeline("fill-mask", ' in text


PARTS = [
    layer_rows,
    width_rows,
    model_rows,
    pretrain_rows,
    curve_rows,
    glue_rows,
    machine_rows,
    sweep_rows,
    converted_rows,
    speed_rows,
]


@pytest.mark.parametrize("part", PARTS)
def test_a_report_of_any_one_kind(tmp_path, part):
    path = write(tmp_path / "rows.jsonl", part())
    assert "<h1>" in write_report(path, tmp_path).read_text()


@pytest.mark.slow
def test_a_report_of_measured_rows(tmp_path):
    path = tmp_path / "rows.jsonl"
    config = LayerBenchConfig("1x2", 16, (2, 4), ("forward",), (1,), seconds=0.01)
    bench_layer(config, path=path)
    assert {row.family for row in rows.read_rows(path, LayerRow)} == {"1x2"}
    assert "1x2, hidden size 16" in write_report(path, tmp_path).read_text()


def test_missing_and_empty_rows_are_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"nowhere\.jsonl"):
        write_report(tmp_path / "nowhere.jsonl", tmp_path)
    (tmp_path / "empty.jsonl").touch()
    with pytest.raises(ValueError, match="no result rows"):
        write_report(tmp_path / "empty.jsonl", tmp_path)


@pytest.mark.slow
def test_every_section_and_figure_is_shown(tmp_path):
    write_report(write(tmp_path / "rows.jsonl", all_rows()), tmp_path)
    text = (tmp_path / "report.md").read_text()
    shown = {part for section in SECTIONS for part in section.parts if isinstance(part, str)}
    assert shown == set(FIGURES)
    empty = {"Use of leaves", "Thresholds of the native core"}  # of which there are no rows here
    empty |= {"The whole model in other engines", "Every engine, milliseconds", "Static embeddings"}
    empty |= {"Encoders as they are deployed", "Converted models: retrieval"}
    empty |= {"Converted models: " + name for name in ("quantized", "tasks", "each layer")}
    empty |= {"Converted models: before training end to end", "Seed by seed"}
    found = {section.title for section in SECTIONS if f"## {section.title}\n" in text}
    assert found == {section.title for section in SECTIONS} - empty
