"""Reports: tables, figures, the page and the README's block, all from synthetic rows."""

import json
from pathlib import Path

import pytest

from ultrafastbert import rows
from ultrafastbert.bench import LayerBenchConfig, bench_layer
from ultrafastbert.report import tables, update_readme, write_report
from ultrafastbert.report.answer import answers, caveats
from ultrafastbert.report.figures import draw_all
from ultrafastbert.report.readme import BEGIN, END, results_block

README = Path(__file__).parents[1] / "README.md"
LOSSES = {"fff": 5.5, "ff": 5.0, "ff_active": 5.75, "none": 6.0}
TIMES_US = {
    "fff native float32": 10.0,
    "fff masked float32": 1200.0,
    "dense eager float32": 1000.0,
    "dense packed bfloat16": 200.0,
    "ff_active packed bfloat16": 5.0,
}


def layer_rows(n_tokens=100, threads=1):
    rows = []
    for name, micros in TIMES_US.items():
        role, implementation, precision = name.split()
        rows.append(
            {
                "kind": "layer",
                "family": "1x11",
                "hidden_size": 768,
                "pass": "forward",
                "threads": threads,
                "n_tokens": n_tokens,
                "n_active": 12,
                "n_neurons": 4095,
                "contestant": name,
                "role": role,
                "implementation": implementation,
                "precision": precision,
                "latency_us": micros * n_tokens,
                "latency_us_low": micros * n_tokens * 0.9,
                "latency_us_high": micros * n_tokens * 1.1,
                "us_per_token": micros,
                "distinct_leaves": 1994,
                "n_leaves": 2048,
                "fastest_dense": "dense packed bfloat16",
                "speedup_over": {
                    other: [0.9 * t / micros, t / micros, 1.1 * t / micros]
                    for other, t in TIMES_US.items()
                    if other != name
                },
            }
        )
    return rows


def model_rows():
    speeds = {"fff": 4.0, "fff_masked": 30.0, "ff": 20.0, "ff_active": 3.0, "none": 2.0}
    return [
        {
            "kind": "model",
            "family": "1x11",
            "hidden_size": 768,
            "num_hidden_layers": 16,
            "pass": "forward",
            "batch": 1,
            "sequence": 128,
            "n_tokens": 128,
            "threads": 2,
            "contestant": f"{variant} eager float32",
            "variant": variant,
            "implementation": "eager",
            "precision": "float32",
            "n_active": 12,
            "n_neurons": 4095,
            "latency_ms": ms,
            "latency_ms_low": ms * 0.9,
            "latency_ms_high": ms * 1.1,
            "tokens_per_s": 128e3 / ms,
            "fastest_dense": "ff eager float32",
            "speedup_over": {
                f"{other} eager float32": [t / ms] * 3
                for other, t in speeds.items()
                if other != variant
            },
        }
        for variant, ms in speeds.items()
    ]


def pretrain_rows(names=LOSSES, seeds=(0, 1, 2)):
    return [
        {
            "kind": "pretrain",
            "name": name,
            "ffn": "1x11" if name == "fff" else name,
            "n_active": 12,
            "n_neurons": 4095,
            "n_parameters": 12_300_000,
            "hidden_size": 256,
            "num_hidden_layers": 4,
            "tokens": 6_000_000,
            "seed": seed,
            "validation_loss": LOSSES[name] + 0.01 * (seed - 1),
            "validation_accuracy": 0.3,
            "tokens_per_s": 5000.0,
        }
        for name in names
        for seed in seeds
    ]


def curve_rows():
    return [
        {"kind": "pretrain_curve", "name": name, "seed": 0, "tokens": 1000 * t, "loss": 9 - t / 10}
        for name in ("fff", "other")
        for t in range(1, 20)
    ]


def glue_rows(task="rte", subset=False):
    return [
        {
            "kind": "glue",
            "model": "ours",
            "task": task,
            "metric": "accuracy",
            "value": 55.0 + seed,
            "seed": seed,
            "subset": subset,
        }
        for seed in (0, 1, 2)
    ]


def all_rows():
    library = {"kind": "glue", "task": "library", "model": "ours", "value": 61.0, "seed": 0}
    return [
        *layer_rows(),
        *layer_rows(1000),
        *model_rows(),
        *pretrain_rows(),
        *curve_rows(),
        *glue_rows(),
        *glue_rows("sst2", subset=True),
        {**library, "majority_accuracy": 0.05},
    ]


def write(path, found):
    for row in found:
        rows.append_row(path, row)
    return path


def cells(table, start):
    line = next(line for line in table.splitlines() if line.startswith(f"| {start}"))
    return [cell.strip() for cell in line.strip("|").split("|")]


def test_layer_table_names_every_baseline():
    table = tables.layer_table(layer_rows())
    line = cells(table, "100")
    assert line[1:3] == ["native", "10.0 (9.00 to 11.0)"]
    assert line[3:] == [
        "100x",
        "20x (packed bfloat16)",
        "0.50x (packed bfloat16)",
        "120x",
        "1,994 of 2,048",
    ]
    assert "12 of 4095 neurons active" in table


def test_the_last_measurement_replaces_earlier_ones():
    twice = [{**row, "us_per_token": 1.0} for row in layer_rows()] + layer_rows()
    assert tables.layer_table(twice) == tables.layer_table(layer_rows())


def test_skipped_contestants_are_shown_as_missing():
    found = [row for row in layer_rows() if row["implementation"] != "masked"]
    ours = {**found[0], "speedup_over": {**found[0]["speedup_over"]}}
    del ours["speedup_over"]["fff masked float32"]
    skipped = {
        **layer_rows()[1],
        "skipped": "its activations would need more than 2 GiB",
    }
    del skipped["latency_us"]
    assert cells(tables.layer_table([ours, *found[1:], skipped]), "100")[-2] == "-"
    assert any("fff masked float32" in text for text in caveats([skipped]))


def test_details_hold_every_contestant():
    table = tables.layer_details([*layer_rows(), *layer_rows(1000)])
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
    assert set(figures) == {"layer_speed", "model_speed", "loss_curves", "quality"}
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
    assert page.count('src="data:image/png;base64,') == 4
    assert "<table>" in page
    text = (tmp_path / "out" / "report.md").read_text()
    assert text.index("Speed of the layer") < text.index("Speed of the whole model")
    assert 'pipeline("fill-mask", ' in text


@pytest.mark.parametrize("part", [layer_rows, model_rows, pretrain_rows, curve_rows, glue_rows])
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
