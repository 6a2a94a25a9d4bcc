"""The benchmark of whole models: its rows, and models with other linear layers."""

import pytest
import torch
from quick_bench import quick_model
from transformers.pytorch_utils import Conv1D

from ultrafastbert.bench import ModelBenchConfig, bench_model
from ultrafastbert.bench.encoders import with_linears
from ultrafastbert.inference.optimized import backends


@pytest.fixture(scope="module")
def model_rows():
    config = ModelBenchConfig(
        quick_model(), shapes=((2, 8),), training_shapes=((2, 8),), threads=1, seconds=0.01
    )
    return bench_model(config)


def test_model_rows_hold_every_control(model_rows):
    variants = {"fff", "fff_masked", "ff", "ff_active", "none"}
    for pass_name in ("forward", "training"):
        case = [row for row in model_rows if row.pass_name == pass_name]
        assert {row.variant for row in case} == variants
        for row in case:
            assert row.fastest_dense.startswith("ff ")
            assert row.tokens_per_s == pytest.approx(16e3 / row.latency_ms)
            assert row.latency_ms_low <= row.latency_ms <= row.latency_ms_high


def test_model_rows_describe_the_models(model_rows):
    widths = {row.variant: (row.ffn, row.n_active, row.n_neurons) for row in model_rows}
    assert widths == {
        "fff": ("1x3x2", 5, 23),
        "fff_masked": ("1x3x2", 5, 23),
        "ff": ("ff:23", 23, 23),
        "ff_active": ("ff:5", 5, 5),
        "none": ("none", 0, 0),
    }
    kernel = {row.variant: row.kernel for row in model_rows}
    assert kernel["fff_masked"] == "masked"
    assert kernel["fff"] in ("native", "gather")
    assert kernel["ff"] is None


def test_replaced_linear_layers_give_the_models_output():
    torch.manual_seed(0)
    encoder = bench_encoder("ff")
    ids = torch.randint(1, 64, (2, 8))
    with torch.inference_mode():
        expected = encoder(ids).last_hidden_state
        for linear in backends.available_linears():
            got = with_linears(encoder, linear, 16)(ids).last_hidden_state
            error = (got - expected).norm() / expected.norm()
            assert error < backends.TOLERANCE[linear.precision], linear
        assert torch.equal(encoder(ids).last_hidden_state, expected)


@pytest.mark.parametrize("linear", backends.LINEARS, ids=lambda x: f"{x.name}-{x.precision}")
def test_linear_layers_of_others_models_are_replaced_too(linear):
    if linear.name != "eager" and not linear.is_available():
        pytest.skip("PyTorch does not have it on this processor")  # eager bfloat16 is emulated
    torch.manual_seed(0)
    conv, plain = Conv1D(5, 3), torch.nn.Linear(3, 5)
    torch.nn.init.normal_(conv.bias)
    for module in (conv, plain):
        model, x = torch.nn.Sequential(module), torch.randn(2, 4, 3)
        got = with_linears(model, linear, 8, keeps_dtype=True)(x)
        assert got.dtype == torch.float32
        error = (got - model(x)).norm() / model(x).norm()
        assert error < backends.TOLERANCE[linear.precision]
    with pytest.raises(ValueError, match="Sequential has no linear layers"):
        with_linears(torch.nn.Sequential(torch.nn.GELU()), linear, 8)


def bench_encoder(variant):
    from ultrafastbert import UltraFastBertModel
    from ultrafastbert.bench.model import variants

    return UltraFastBertModel(variants(quick_model())[variant]).eval()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"model": quick_model(ffn_type="ff")}, "ffn_type='ff'"),
        ({"model": quick_model(num_hidden_layers=0)}, "num_hidden_layers=0"),
        ({"shapes": ((1, 1000),)}, "max_position_embeddings"),
        ({"shapes": ((0, 8),)}, "at least"),
        ({"training_shapes": ((10**9, 8),)}, "GiB"),
        ({"threads": 0}, "threads=0"),
        ({"seconds": -1.0}, "seconds=-1.0"),
    ],
)
def test_model_config_names_what_is_wrong(options, message):
    with pytest.raises(ValueError, match=message):
        ModelBenchConfig(**{"model": quick_model(), **options})
