"""Result rows: written whole or not at all, and read back."""

import pytest

from ultrafastbert.rows import append_row, append_rows, read_rows


def test_rows_are_read_as_written(tmp_path):
    path = tmp_path / "a" / "rows.jsonl"
    written = append_row(path, {"kind": "layer", "latency_us": 1.5})
    append_rows(path, [{"kind": "model"}, {"kind": "layer"}])
    assert read_rows(path)[0] == written
    assert written["environment"]["threads"] >= 1
    assert [row["kind"] for row in read_rows(tmp_path)] == ["layer", "model", "layer"]
    assert len(read_rows(path, "layer")) == 2


def test_a_line_that_was_cut_off_is_passed_over_and_replaced(tmp_path):
    path = tmp_path / "rows.jsonl"
    append_row(path, {"kind": "layer"})
    with path.open("a") as file:
        file.write('{"kind": "mod')
    assert len(read_rows(path)) == 1
    append_row(path, {"kind": "model"})
    assert [row["kind"] for row in read_rows(path)] == ["layer", "model"]


@pytest.mark.parametrize("line", ["nonsense", "[]", "{}"])
def test_lines_that_are_no_rows_are_named(tmp_path, line):
    (tmp_path / "rows.jsonl").write_text(line + "\n")
    with pytest.raises(ValueError, match="line 1 is not a result row"):
        read_rows(tmp_path)
