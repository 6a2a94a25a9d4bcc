"""Reports: tables, figures, the page and the README's block, all from synthetic rows."""

import json
from pathlib import Path

import pytest
from report_rows import (
    all_rows,
    curve_rows,
    glue_rows,
    layer_rows,
    machine_rows,
    model_rows,
    older,
    pretrain_rows,
    sweep_rows,
    width_rows,
)

from ultrafastbert import rows
from ultrafastbert.bench import LayerBenchConfig, bench_layer
from ultrafastbert.report import layer_tables, tables, update_readme, write_report
from ultrafastbert.report.answer import answers, caveats
from ultrafastbert.report.figures import FIGURES, draw_all
from ultrafastbert.report.readme import BEGIN, END, results_block

README = Path(__file__).parents[2] / "README.md"


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
    assert all(table.count(title) == 1 for title in tables.CACHE_TITLES.values())


def test_rows_of_older_versions_are_read():
    table = layer_tables.layer_table(older(layer_rows()))
    assert tables.CACHE_TITLES["fresh"] in table
    assert cells(table, "100 | native float32")[-2] == "-"
    assert layer_tables.paper_table(older(layer_rows())) != ""
    rest = [row for row in older(layer_rows()) if "blas" not in row["contestant"]]
    assert layer_tables.paper_table(rest) == ""


def test_the_papers_table_compares_what_is_written_alike():
    table = layer_tables.paper_table([*layer_rows(), *layer_rows(1000)])
    assert "1,000 tokens" in table
    assert "2311.10770" in table
    line = cells(table, "BLAS level 1")
    assert line[1:4] == ["4,000", "20.0", "200x"]
    assert line[4:6] == ["25x (packed float32)", "10x (packed bfloat16)"]
    assert line[6:] == ["20%", "130.7x (CPU)", "48x (CPU)"]
    assert cells(table, "BLAS level 3")[1:4] == ["800", "-", "-"]
    assert cells(table, "native float32")[1:4] == ["500", "10.0", "50x"]
    assert cells(table, "native int8 weights")[1:4] == ["200", "5.00", "40x"]
    assert layer_tables.paper_table(layer_rows(threads=2)) == ""


def test_other_layers_have_nothing_published():
    table = layer_tables.paper_table(layer_rows(depth=7))
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
    twice = [{**row, "us_per_token": 1.0} for row in layer_rows()] + layer_rows()
    assert layer_tables.layer_table(twice) == layer_tables.layer_table(layer_rows())


def test_skipped_contestants_are_shown_as_missing():
    found = [row for row in layer_rows() if row["implementation"] != "masked"]
    ours = {**found[0], "speedup_over": {**found[0]["speedup_over"]}}
    del ours["speedup_over"]["fff masked float32"]
    skipped = {
        **next(row for row in layer_rows() if row["implementation"] == "masked"),
        "skipped": "its activations would need more than 2 GiB",
    }
    del skipped["latency_us"]
    table = layer_tables.layer_table([ours, *found[1:], skipped])
    assert cells(table, "100 | native float32")[-3] == "-"
    assert any("2 GiB): fff masked float32" in text for text in caveats([skipped]))


def test_details_hold_every_contestant():
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
    other = [{**row, "model": "other"} for row in glue_rows("cola")]
    table = tables.glue_table([*glue_rows(), *other])
    assert cells(table, "ours")[2:4] == ["-", "-"]


def test_other_tasks_have_a_table_of_their_own():
    found = [
        *glue_rows("reviews"),
        {"kind": "glue", "task": "library", "model": "m", "value": 61, "seed": 0},
    ]
    table = tables.task_table(found)
    assert cells(table, "model")[1:3] == ["reviews (accuracy, %)", "library (accuracy, %)"]
    assert cells(table, "m ")[1:3] == ["-", "61.0"]
    assert tables.glue_table(found) == ""


@pytest.mark.parametrize(
    ("value", "text"), [(0.0, "0"), (0.012345, "0.0123"), (12.345, "12.3"), (123456.0, "123,456")]
)
def test_numbers_have_three_digits(value, text):
    assert tables.number(value) == text


def test_counts_are_short():
    assert [tables.count(n) for n in (12, 4095, 6e6, 2.5e9)] == ["12", "4.09k", "6M", "2.5B"]


def test_the_answer_says_how_good_and_how_fast():
    text = "\n".join(answers(all_rows()))
    assert "12 of 4,095 neurons" in text
    assert "fff saves 50 %" in text
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
    loaded = [{**row, "other_load": 0.5} for row in layer_rows()]
    assert any("50 % of the machine" in caveat for caveat in caveats(loaded))


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


def test_a_report_of_all_kinds(tmp_path):
    path = write(tmp_path / "rows.jsonl", all_rows())
    page = write_report(path, tmp_path / "out", "Trial & error", "runs/fff").read_text()
    assert "<title>Trial &amp; error</title>" in page
    assert page.count('src="data:image/png;base64,') == len(FIGURES)
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
]


@pytest.mark.parametrize("part", PARTS)
def test_a_report_of_any_one_kind(tmp_path, part):
    path = write(tmp_path / "rows.jsonl", part())
    assert "<h1>" in write_report(path, tmp_path).read_text()


def test_a_report_of_measured_rows(tmp_path):
    path = tmp_path / "rows.jsonl"
    config = LayerBenchConfig("1x2", 16, (2, 4), ("forward",), (1,), seconds=0.01)
    bench_layer(config, path=path)
    assert "1x2, hidden size 16" in write_report(path, tmp_path).read_text()


def test_missing_and_empty_rows_are_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"nowhere\.jsonl"):
        write_report(tmp_path / "nowhere.jsonl", tmp_path)
    (tmp_path / "empty.jsonl").touch()
    with pytest.raises(ValueError, match="no result rows"):
        write_report(tmp_path / "empty.jsonl", tmp_path)
    with pytest.raises(ValueError, match="no result rows"):
        results_block(tmp_path)


def test_readme_block_follows_the_rows(tmp_path):
    write(tmp_path / "results" / "a.jsonl", all_rows())
    readme = tmp_path / "README.md"
    readme.write_text(f"# Title\n{BEGIN}\nold\n{END}\nend\n")
    assert not update_readme(readme, tmp_path / "results", check=True)
    assert "old" in readme.read_text()
    assert not update_readme(readme, tmp_path / "results")
    assert update_readme(readme, tmp_path / "results", check=True)
    text = readme.read_text()
    assert text.startswith(f"# Title\n{BEGIN}\n### ")
    assert text.endswith(f"{END}\nend\n")
    assert "### Converted models: which layer where\n\n| feedforward layers" in text
    assert "Converted models: speed" not in text  # no rows of it
    write(tmp_path / "results" / "b.jsonl", glue_rows("cola"))
    assert not update_readme(readme, tmp_path / "results", check=True)


def test_the_projects_readme_shows_its_results():
    if not README.exists() or BEGIN not in README.read_text():
        pytest.skip("the README has no results yet")
    assert update_readme(README, README.parent / "results", check=True)


@pytest.mark.parametrize("text", ["", BEGIN, f"{END}{BEGIN}", f"{BEGIN}{END}{END}"])
def test_readme_needs_its_markers(tmp_path, text):
    readme = tmp_path / "README.md"
    readme.write_text(text)
    with pytest.raises(ValueError, match="needs the markers"):
        update_readme(readme, tmp_path)


def test_rows_are_plain_json():
    assert json.loads(json.dumps(all_rows())) == all_rows()
