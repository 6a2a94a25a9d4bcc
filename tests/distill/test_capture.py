"""What FF layers read and wrote: all of it, in order, and no more than is needed."""

from collections import Counter

import pytest
import torch
from tiny_architectures import tiny_model

from ultrafastbert.data.text_batches import batches_of
from ultrafastbert.distill.teacher.capture import capture
from ultrafastbert.models.converted.architectures import layers_of, location_of
from ultrafastbert.models.converted.hooks import run_hooked


def test_capture_holds_what_layers_read_and_wrote(texts, tokenizer, tmp_path):
    model = tiny_model()
    captured = capture(model, tokenizer, texts, 500, [1], tmp_path, max_length=20)
    layer = layers_of(model, location_of(model))[1]
    x = captured[1].x.float()
    y = layer.output.dense(layer.intermediate(x))
    assert x.shape == (500, 16)
    torch.testing.assert_close(captured[1].y.float(), y, atol=0.02, rtol=0.02)
    again = capture(model, tokenizer, [], 500, [1], tmp_path)
    assert torch.equal(again[1].x, captured[1].x)


def test_capture_stops_models_after_the_last_layer_wanted(texts, tokenizer, tmp_path):
    model, runs = tiny_model(), Counter()
    for number, layer in enumerate(layers_of(model, location_of(model))):
        layer.register_forward_pre_hook(lambda *_, number=number: runs.update([number]))
    capture(model, tokenizer, 10 * texts, 4000, [0], tmp_path, max_length=20)
    assert runs[1] == 1 < runs[0]  # the first batch shows that FF layers are run once


@pytest.mark.slow
def test_capture_holds_all_runs_of_a_shared_feedforward(texts, tokenizer, tmp_path):
    model = tiny_model("albert")
    texts, location = 10 * texts, location_of(model)
    captured = capture(model, tokenizer, texts, 4000, [0], tmp_path, max_length=20)[0]
    batches = batches_of(tokenizer, texts, 20)
    every = torch.cat([run_hooked(model, location, [0], batch)[0].x for batch in batches])
    assert torch.equal(captured.x, every[:4000].bfloat16())


def test_capture_says_what_is_missing(texts, tokenizer, tmp_path):
    with pytest.raises(
        ValueError, match=r"the train text has .* tokens in 3 pieces, but 50,000 are"
    ):
        capture(tiny_model(), tokenizer, texts[:3], 50_000, [0], tmp_path / "train")
    with pytest.raises(ValueError, match="GiB are free; capture fewer tokens"):
        capture(tiny_model(), tokenizer, texts, 10**13, [0], tmp_path)
