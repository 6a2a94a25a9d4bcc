"""Going on from a converted model: what it computes at first, and what does not fit."""

import dataclasses

import pytest
import torch

from ultrafastbert.distill import ConvertConfig, convert
from ultrafastbert.distill.start import go_on_from
from ultrafastbert.inference.quantize import quantize_model
from ultrafastbert.models.converted.folder import load_dense, save_converted
from ultrafastbert.models.converted.model import converted_copy
from ultrafastbert.models.io.saved import load_as_saved
from ultrafastbert.rows.conversion import ConvertLayerRow, ConvertLayerwiseRow, ConvertRow


@pytest.fixture
def started(dense_folder, tmp_path):
    """Folder of a converted model."""
    torch.manual_seed(0)
    folder = tmp_path / "started"
    save_converted(converted_copy(load_dense(dense_folder), ["1x2x3"] * 2), dense_folder, folder)
    return folder


@pytest.mark.parametrize("ffn", ["1x2x3", "1x2x3+5"])
def test_a_new_dense_block_changes_nothing_at_first(started, dense_folder, ids, ffn):
    student = converted_copy(load_dense(dense_folder), [ffn] * 2)
    go_on_from(student, started)
    found, wanted = (model(ids).last_hidden_state for model in (student, load_as_saved(started)))
    torch.testing.assert_close(found, wanted)


@pytest.mark.usefixtures("few_library_texts")
def test_quantized_weights_become_float(started, dense_folder, ids, tmp_path):
    quantize_model(started, tmp_path / "small")
    student = converted_copy(load_dense(dense_folder), ["1x2x3+5"] * 2)
    go_on_from(student, tmp_path / "small")
    assert all(weight.dtype == torch.float32 for weight in student.parameters())
    small = load_as_saved(tmp_path / "small").eval()
    with torch.no_grad():
        torch.testing.assert_close(student(ids)[0], small(ids)[0], rtol=1e-4, atol=1e-4)


def test_what_does_not_fit_is_named(started, dense_folder):
    other = converted_copy(load_dense(dense_folder), ["1x2x4"] * 2)
    with pytest.raises(ValueError, match=r"inner.*is \(1, 15\) there and \(1, 19\) here"):
        go_on_from(other, started)
    with pytest.raises(ValueError, match="was not converted: BertModel"):
        go_on_from(other, dense_folder)


def test_training_goes_on_end_to_end(started, dense_folder, documents, tmp_path):
    text = tmp_path / "lines.txt"
    text.write_text("\n\n".join(documents))
    config = ConvertConfig(
        ffn="1x2x3+5",
        tokens=100,
        max_length=32,
        end_to_end_steps=4,
        end_to_end_tokens=2000,
        end_to_end_batch_tokens=128,
        whole_lines=True,
        controls=False,
        start=str(started),
    )
    rows = convert(dense_folder, tmp_path / "out", text, config)
    assert not any(isinstance(row, ConvertLayerRow) for row in rows)
    (before,) = (row for row in rows if isinstance(row, ConvertLayerwiseRow))
    after = next(row for row in rows if isinstance(row, ConvertRow) and row.model == "fff")
    assert after.fvu_states < before.fvu_states
    assert (after.start, after.n_active) == ("started", 10)
    assert (after.steps, after.sequential_steps) == (None, None)  # no layer learned alone
    assert load_as_saved(tmp_path / "out").config.ffn == ["1x2x3+5"] * 2
    card = (
        (tmp_path / "out" / "README.md").read_text()
        if (tmp_path / "out" / "README.md").exists()
        else ""
    )
    assert "None" not in card
    with pytest.raises(ValueError, match="goes on with one model; turn controls"):
        dataclasses.replace(config, controls=True)
