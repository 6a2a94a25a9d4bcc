"""Layer-wise and sequential distillation: scaling, hyperplanes, regression, drift."""

import dataclasses

import pytest
import torch
from short_runs import ALL_STAGES
from tiny_architectures import tiny_model

from ultrafastbert import FastFeedForward
from ultrafastbert.data.text_batches import batches_of
from ultrafastbert.distill import RegressionConfig, convert, fvu, regress
from ultrafastbert.distill.routing import decision_loss, leaf_errors
from ultrafastbert.distill.scaling import Scaling
from ultrafastbert.distill.sequential import capture_drifted
from ultrafastbert.distill.splits import set_hyperplanes
from ultrafastbert.distill.teacher.capture import Captured, capture
from ultrafastbert.models.converted.architectures import location_of
from ultrafastbert.models.converted.feedforward import ConvertedFeedForward
from ultrafastbert.models.converted.model import converted_copy
from ultrafastbert.models.converted.norms import norms_after
from ultrafastbert.rows.conversion import ConvertRow


def regression_problem(layer, n_tokens=20_000):
    """Inputs, and what a layer makes of them."""
    x = torch.randn(n_tokens, layer.hidden_size, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        return Captured(x, layer(x))


def test_scaling_is_folded_into_the_weights():
    for ffn in ("2x2x3", "ff:5", "none"):
        feedforward = ConvertedFeedForward(4, ffn)
        torch.nn.init.normal_(feedforward.bias)
        scaling = Scaling(torch.randn(4), torch.tensor(2.5), torch.randn(4), torch.rand(4))
        x = torch.randn(50, 4)
        scaled, _ = scaling.apply(x, x)
        expected = feedforward(scaled) * scaling.y_scale + scaling.y_mean
        scaling.fold_(feedforward)
        torch.testing.assert_close(feedforward(x), expected, atol=1e-4, rtol=1e-4)
        scaling.unfold_(feedforward)
        again = feedforward(scaled) * scaling.y_scale + scaling.y_mean
        torch.testing.assert_close(again, expected, atol=1e-4, rtol=1e-4)


def test_hyperplanes_halve_the_tokens():
    layer = FastFeedForward(6, depth=3, n_trees=2)
    x = torch.randn(8000, 6) * torch.tensor([1.0, 2, 3, 4, 5, 6]) + 3
    for split in ("principal", "random"):
        set_hyperplanes(layer, x, split, seed=0)
        for leaves in layer.visited_leaves(x).T:
            assert (leaves.bincount(minlength=8) - 1000).abs().max() < 50
    few = torch.randn(3, 6)
    set_hyperplanes(layer, few, "principal", seed=0)
    assert layer.w_in.isfinite().all()
    with pytest.raises(ValueError, match="split='other'"):
        set_hyperplanes(layer, x, "other", seed=0)


def test_leaf_errors_are_those_of_other_leaves():
    layer = FastFeedForward(5, depth=2, n_trees=2, leaf_size=3)
    x, y = torch.randn(20, 5), torch.randn(20, 5)
    residual = y - layer(x)
    leaf = layer.visited_leaves(x)[:, 1]
    errors = leaf_errors(layer, 1, x, residual, leaf)  # up to a constant for each token
    leaves = layer.w_in[1, 3:].view(4, 3, 5), layer.b_in[1, 3:].view(4, 3)
    hidden = torch.nn.functional.gelu(torch.einsum("th,nlh->tnl", x, leaves[0]) + leaves[1])
    outputs = torch.einsum("tnl,nlo->tno", hidden, layer.w_out[1, 3:].view(4, 3, 5))
    own = outputs[torch.arange(20), leaf]
    exact = (residual[:, None] + own[:, None] - outputs).square().mean(-1)
    difference = exact - errors
    torch.testing.assert_close(difference, difference[:, :1].expand_as(difference))


def test_decision_loss_pulls_to_the_better_child():
    logits = torch.tensor([[0.5, -1.0, 2.0]], requires_grad=True)
    errors = torch.tensor([[3.0, 1.0, 5.0, 2.0]])
    visited = torch.tensor([[1.0, 0.0, 1.0]])
    decision_loss(logits, errors, visited).backward()
    # Below, the left child leads to its left leaf (3), the right one to its right leaf (2).
    expected = [
        -1 * (1 - torch.sigmoid(torch.tensor(0.5))),
        0.0,
        -3 * torch.sigmoid(torch.tensor(-2.0)),
    ]
    torch.testing.assert_close(logits.grad[0], torch.tensor(expected))


def test_learned_hyperplanes_beat_those_from_the_inputs():
    torch.manual_seed(0)
    target = FastFeedForward(8, depth=2, leaf_size=4)
    data = regression_problem(target)
    config = RegressionConfig(steps=300, batch_tokens=512)
    errors = {}
    for name, rate in (("held", 0.0), ("learned", config.routing_learning_rate)):
        feedforward = ConvertedFeedForward(8, "1x2x4")
        regress(feedforward, data, dataclasses.replace(config, routing_learning_rate=rate))
        errors[name] = fvu(feedforward, data)
    assert errors["learned"] < errors["held"] < 0.9


def test_regression_is_reproducible_and_ends_near_a_layer_that_fits():
    torch.manual_seed(0)
    target = FastFeedForward(8, depth=0, leaf_size=2)
    data = regression_problem(target)
    config, results = RegressionConfig(steps=200, batch_tokens=512, learning_rate=2e-2), []
    for _ in range(2):
        feedforward = ConvertedFeedForward(8, "ff:8")
        regress(feedforward, data, config)
        results.append(feedforward)
    assert fvu(results[0], data) < 0.02
    assert torch.equal(results[0].inner.dense_in.weight, results[1].inner.dense_in.weight)
    mean = ConvertedFeedForward(8, "none")
    regress(mean, data, RegressionConfig())
    assert fvu(mean, data) == pytest.approx(1.0, abs=0.01)
    shifted = data._replace(y=data.y + 5)
    regress(mean, shifted, RegressionConfig(), is_new=False)
    assert fvu(mean, shifted) == pytest.approx(1.0, abs=0.01)


def test_what_a_norm_takes_back_does_not_hide_the_rest():
    torch.manual_seed(0)
    norm = torch.nn.LayerNorm(8)
    x, y = regression_problem(FastFeedForward(8, depth=0, leaf_size=2))
    huge = x[:, 0] > 1.5  # few tokens, with one component above all others
    y[huge, 3] = 1000 + 100 * torch.randn(huge.sum())
    data = Captured(x, y)
    config = RegressionConfig(steps=300, batch_tokens=512, learning_rate=2e-2)
    errors = {}
    for name, each in (("none", None), ("norm", norm)):
        feedforward = ConvertedFeedForward(8, "1x2x4")
        regress(feedforward, data, config, norm=each)
        errors[name] = fvu(feedforward, data, norm)
    assert errors["norm"] < 0.7 * errors["none"]
    mean = ConvertedFeedForward(8, "none")
    with torch.no_grad():
        mean.bias.copy_(y.mean(0))
    assert fvu(mean, data, norm) == pytest.approx(1.0)


@pytest.mark.parametrize(("model_type", "has_norm"), [("bert", True), ("modernbert", False)])
def test_sequential_outputs_make_up_for_drift(model_type, has_norm, texts, tokenizer, tmp_path):
    model = tiny_model(model_type)
    location = location_of(model)
    original = capture(model, tokenizer, texts, 500, [1], tmp_path / "original")[1]
    student = converted_copy(model, ["1x2x3", "1x2x3"])
    size, batch = model.config.hidden_size, next(batches_of(tokenizer, texts, 20))
    norm = norms_after(model, location, [1], size, batch)[1]
    assert (norm is not None) == has_norm
    captured = capture_drifted(
        student, tokenizer, texts, 1, original, norm, tmp_path / "student", 128, print, location
    )
    x, y = (part.float() for part in captured)
    assert not torch.equal(captured.x, original.x)
    wanted = original.x.float() + original.y.float() - x if has_norm else original.y.float()
    torch.testing.assert_close(y, wanted, atol=0.02, rtol=0.02)


@pytest.mark.slow
def test_sequential_distillation_brings_models_nearer(dense_folder, text_file, tmp_path):
    errors = []
    for steps, again in ((400, 0), (200, 200)):
        config = dataclasses.replace(
            ALL_STAGES, steps=steps, sequential_steps=again, controls=False, end_to_end_steps=0
        )
        rows = convert(dense_folder, tmp_path / f"{steps}{again}", text_file, config)
        (error,) = (
            row.fvu_states for row in rows if isinstance(row, ConvertRow) and row.model == "fff"
        )
        errors.append(error)
    assert errors[1] < errors[0]
