"""The results of the repository: all tables, ten lines, figures; each between its markers."""

from pathlib import Path

import pytest
from report_rows import all_rows, converted_rows, glue_rows, layer_rows

from ultrafastbert import rows
from ultrafastbert.report import update_results
from ultrafastbert.report.headline import MOST_LINES, RESULTS, anchor, headline_table
from ultrafastbert.report.results import BEGIN, END

ROOT = Path(__file__).parents[2]


@pytest.fixture
def pages(tmp_path):
    (tmp_path / "results").mkdir()
    found = tmp_path / "results", tmp_path / "README.md"
    for page in (found[0] / "README.md", found[1]):
        page.write_text(f"# Title\n{BEGIN}\nold\n{END}\nend\n")
    rows.append_rows(found[0] / "a.jsonl", all_rows())
    return found


@pytest.mark.slow
def test_pages_and_figures_follow_the_rows(pages):
    folder, readme = pages
    assert not update_results(*pages, check=True)
    assert "old" in readme.read_text()
    assert not update_results(*pages)
    assert update_results(*pages, check=True)
    for page in (folder / "README.md", readme):
        text = page.read_text()
        assert text.startswith(f"# Title\n{BEGIN}\n")
        assert text.endswith(f"{END}\nend\n")
    text = (folder / "README.md").read_text()
    assert "## Which layer where\n\n| feedforward layers" in text
    assert "Converted models: tasks" not in text  # no rows of it
    assert "(figures/layer_speed.svg)" in text
    assert "(../docs/figures/latency_quality.svg)" in text
    drawn = sorted(path.name for path in folder.parent.rglob("figures/*"))
    assert {path.rsplit(".")[1] for path in drawn} == {"svg"}
    assert (readme.parent / "docs" / "figures" / "latency_quality.svg").exists()
    rows.append_rows(folder / "b.jsonl", glue_rows("cola"))
    assert not update_results(*pages, check=True)


@pytest.mark.slow
def test_the_ten_lines_name_baselines_losses_and_where_to_read_on(pages):
    folder, _ = pages
    update_results(*pages)
    _, _, *lines = headline_table(all_rows()).splitlines()
    assert 5 < len(lines) <= MOST_LINES
    (layer,) = (line for line in lines if "dense: " in line and "layer 1x11" in line)
    assert "5.00 µs per token (int8 weights) | dense: 200 (packed bfloat16) | 40x" in layer
    (active,) = (line for line in lines if "dense of active width" in line)
    assert "| 1.0x |" in active
    (model,) = (line for line in lines if "16 layers" in line)
    assert "4.00 ms (eager float32) | dense: 20.0 ms (eager float32) | 5.0x" in model
    (loss,) = (line for line in lines if "the same in ONNX Runtime int8" in line)
    assert "0.75x" in loss
    (score,) = (line for line in lines if "STS-B test" in line)
    assert "| 81.5 | original: 83.0; no feedforward layers: 80.0 | 0.982 |" in score
    text = (folder / "README.md").read_text()
    headings = {anchor(line.lstrip("# ")) for line in text.splitlines() if line.startswith("#")}
    links = {line.split(f"{RESULTS}#")[1].split(")")[0] for line in lines}
    assert links <= headings


def test_without_rows_of_its_kind_a_line_is_left_out():
    assert headline_table(glue_rows()) == ""
    assert len(headline_table(layer_rows()).splitlines()) == 2 + 2
    quality = headline_table([row for row in converted_rows() if row.model != "none"])
    assert quality == ""  # no number without its control


def test_the_projects_pages_show_its_results():
    readme = ROOT / "README.md"
    if not readme.exists() or BEGIN not in readme.read_text():
        pytest.skip("the README has no results yet")
    assert update_results(ROOT / "results", readme, check=True)


@pytest.mark.parametrize("text", ["", BEGIN, f"{END}{BEGIN}", f"{BEGIN}{END}{END}"])
@pytest.mark.parametrize("page", [0, 1])
def test_pages_need_their_markers(pages, text, page):
    (pages[0] / "README.md", pages[1])[page].write_text(text)
    with pytest.raises(ValueError, match="needs the markers"):
        update_results(*pages)


def test_a_folder_without_rows_is_named(pages):
    (pages[0] / "a.jsonl").write_text("")
    with pytest.raises(ValueError, match="no result rows"):
        update_results(*pages)
