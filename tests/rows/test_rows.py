"""Result rows: typed, written whole or not at all, read back, checked, upgraded."""

import json
import re
import subprocess
import sys
from dataclasses import fields, replace
from pathlib import Path

import pytest
from report_rows import (
    all_rows,
    curve_rows,
    engine_rows,
    engine_skipped_row,
    glue_row,
    layer_rows,
    model_rows,
)

from ultrafastbert.rows import KINDS, append_row, append_rows, kinds_in, parse, read_rows, to_plain
from ultrafastbert.rows.conversion import ConvertLayerRow, ConvertRow
from ultrafastbert.rows.layers import LayerRow, MachineRow, SkippedRow
from ultrafastbert.rows.models import ConvertSpeedRow, ModelRow, QuantizeRow
from ultrafastbert.rows.row import Score, columns_of
from ultrafastbert.rows.training import PretrainCurveRow, PretrainRow

ROOT = Path(__file__).parents[2]
POINT = {"kind": "pretrain_curve", "name": "fff", "seed": 0, "step": 1, "tokens": 9, "loss": 2.0}
POINT |= {"learning_rate": 0.1}


def test_rows_are_read_as_written(tmp_path):
    path = tmp_path / "a" / "rows.jsonl"
    written = append_row(path, layer_rows()[0])
    append_rows(path, [model_rows()[0], layer_rows()[1]])
    assert read_rows(path)[0] == written
    assert written.environment.threads >= 1
    assert [row.kind for row in read_rows(tmp_path)] == ["layer", "model", "layer"]
    assert len(read_rows(path, LayerRow)) == 2
    assert kinds_in(path) == {"layer", "model"}


def test_rows_of_every_kind_are_plain_json_and_back():
    for row in (*all_rows(), *engine_rows(), engine_skipped_row()):
        plain = json.loads(json.dumps(to_plain(row)))
        assert (plain["kind"], plain["version"]) == (row.kind, 2)
        assert parse(plain) == row


def test_every_kind_says_what_its_fields_are():
    assert len(KINDS) == 27
    for kind, row in KINDS.items():
        assert row.kind == kind
        docs = "".join(base.__doc__ or "" for base in row.__mro__)
        for field in fields(row):
            name = field.name.removesuffix("_low").removesuffix("_high")
            assert re.search(rf"\b{name}\b", docs), f"{kind}: {field.name}"


def test_what_is_no_row_is_not_written(tmp_path):
    with pytest.raises(TypeError, match="is no result row"):
        append_row(tmp_path / "rows.jsonl", Score("stsb", "test", "spearman", 1.0))
    assert not (tmp_path / "rows.jsonl").exists()


def test_a_line_that_was_cut_off_is_passed_over_and_replaced(tmp_path):
    path = tmp_path / "rows.jsonl"
    append_row(path, layer_rows()[0])
    with path.open("a") as file:
        file.write('{"kind": "mod')
    assert len(read_rows(path)) == 1
    append_row(path, model_rows()[0])
    assert [row.kind for row in read_rows(path)] == ["layer", "model"]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("nonsense", ""),
        ("[]", "it has no kind"),
        ("{}", "it has no kind"),
        ('{"kind": "cake"}', "kind 'cake' is unknown"),
        (json.dumps({**POINT, "version": 3}), "version 3 is newer .* update ultrafastbert"),
        (json.dumps({**POINT, "colour": 1}), "'pretrain_curve': it has the unknown field 'colour'"),
        (json.dumps({**POINT, "loss": "low"}), "'pretrain_curve': loss: 'low' is no float"),
        (json.dumps({**POINT, "seed": True}), "seed: True is no int"),
        ('{"kind": "machine", "threads": 1}', "'machine': it lacks the field 'fma_per_s'"),
    ],
)
def test_lines_that_are_no_rows_are_named(tmp_path, line, message):
    (tmp_path / "rows.jsonl").write_text(f"{json.dumps(POINT)}\n{line}\n")
    with pytest.raises(ValueError, match=rf"rows\.jsonl, line 2 is not a result row: .*{message}"):
        read_rows(tmp_path)


def version_1(row, **changes):
    """The row as version 1 had it, but for the names that changed."""
    plain = to_plain(row)
    del plain["version"]
    return plain | changes


def test_layers_of_version_1_are_upgraded():
    now = layer_rows()[0]
    old = version_1(now, floor_us=4.0, share_of_floor=0.4, contestant=now.name)
    for name in ("roofline_us", "roofline_fraction"):
        del old[name]
    old["pass"] = old.pop("pass_name")
    assert parse(old) == now
    assert parse({name: old[name] for name in old if name != "cache"}) == now  # was fresh
    skipped = {name: value for name, value in old.items() if not name.startswith("latency")}
    for name in ("us_per_token", "rounds", "calls", "fastest_dense", "speedup_over"):
        del skipped[name]
    for name in ("floor_us", "share_of_floor"):
        del skipped[name]
    row = parse({**skipped, "skipped": "no matrix"})
    assert isinstance(row, SkippedRow)
    assert (row.benchmark, row.reason, row.name) == ("layer", "no matrix", now.name)


def test_conversions_of_version_1_are_upgraded():
    old = {"kind": "shrink", "weight_dtype": "int8", "bytes_before": 9, "bytes": 4, "n_texts": 2}
    old |= {"cosine_mean": 0.9, "cosine_min": 0.8}
    old |= {"stsb_test_before_spearman": 82.0, "stsb_test_spearman": 81.0}
    row = parse(old)
    assert isinstance(row, QuantizeRow)
    assert row.scores_before == (Score("stsb", "test", "spearman", 82.0),)
    assert row.scores == (Score("stsb", "test", "spearman", 81.0),)
    layer = {"kind": "convert_layer", "model": "ff_time", "layer": 0, "ffn": "ff:8", "n_active": 8}
    layer |= {"unexplained": 0.5, "steps": 1, "batch_tokens": 2, "learning_rate": 1e-3, "seed": 0}
    row = parse({**layer, "split": "principal", "routing_learning_rate": 0})
    assert (row.model, row.fvu, row.fvu_after_norm) == ("ff_equal_latency", 0.5, None)


@pytest.mark.parametrize(
    ("place", "kinds"),
    [
        ("results", {ConvertLayerRow, ConvertSpeedRow, QuantizeRow}),
        ("packages/ultrafastbert-minilm", {ConvertRow, QuantizeRow}),
    ],
)
def test_all_rows_of_the_repository_are_read(place, kinds):
    if not (ROOT / place).exists():
        pytest.skip("not in this archive")
    found = read_rows(ROOT / place)
    assert kinds <= set(map(type, found))
    if place == "results":
        assert {LayerRow, ModelRow, PretrainRow, PretrainCurveRow, MachineRow} <= set(
            map(type, found)
        )


def test_metrics_are_fields_with_a_title():
    assert list(columns_of(PretrainRow)) == ["validation_loss", "validation_accuracy"]
    assert columns_of(PretrainRow)["validation_accuracy"].factor == 100
    assert list(columns_of(ConvertLayerRow)) == ["fvu_after_norm", "fvu"]
    assert columns_of(LayerRow) == {}


def test_fields_that_do_not_apply_are_left_out():
    assert "majority_accuracy" not in to_plain(glue_row("rte", 50.0))
    assert to_plain(glue_row("rte", 50.0, majority_accuracy=0.0))["majority_accuracy"] == 0.0
    assert to_plain(replace(layer_rows()[0], fastest_dense=None))["fastest_dense"] is None
    assert curve_rows()[0].environment is None


def test_rows_need_no_torch():
    names = "torch", "transformers"
    code = (
        "import sys, types; from pathlib import Path; import importlib.util as u; "
        "package = types.ModuleType('ultrafastbert'); "
        f"package.__path__ = [{str(ROOT / 'src' / 'ultrafastbert')!r}]; "
        "sys.modules['ultrafastbert'] = package; import ultrafastbert.rows; "
        f"print([name for name in {names} if name in sys.modules])"
    )
    found = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False
    )
    assert found.stdout.strip() == "[]", found.stderr
