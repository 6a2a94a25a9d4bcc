"""Conversion of models in any dtype, under any default dtype: FF layers learn in float32."""

import pytest
import torch
from transformers import AutoModel, BertConfig, BertModel, ModernBertConfig

from ultrafastbert.distill import RegressionConfig, convert_model
from ultrafastbert.models.converted.model import converted_copy

DTYPES = [torch.float32, torch.bfloat16, torch.float16, torch.float64]
SIZES = {"num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32}


@pytest.fixture
def set_default_dtype():
    yield torch.set_default_dtype
    torch.set_default_dtype(torch.float32)


def bert(dtype):
    torch.manual_seed(0)
    model = BertModel(BertConfig(vocab_size=40, hidden_size=16, **SIZES)).eval()
    with torch.no_grad():  # weights of random models are tiny
        for layer in model.encoder.layer:
            layer.intermediate.dense.weight.mul_(20)
            layer.output.dense.weight.mul_(20)
    return model.to(dtype)


def fvus(model, ffn):
    generator = torch.Generator().manual_seed(1)
    batches = [torch.randint(1, 40, (8, 16), generator=generator) for _ in range(12)]
    training = RegressionConfig(steps=60, batch_tokens=256)
    converted, rows = convert_model(model, batches, ffn, training=training)
    assert converted.dtype == model.dtype
    assert converted(batches[0]).last_hidden_state.isfinite().all()
    return [row.fvu for row in rows]


@pytest.mark.slow
@pytest.mark.parametrize("ffn", ["1x2x4", "ff:8", "none"])
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_models_are_converted_in_any_dtype(dtype, ffn, set_default_dtype):
    model = bert(torch.float32)
    expected = fvus(model, ffn)
    assert fvus(bert(dtype), ffn) == pytest.approx(expected, rel=0.05)
    set_default_dtype(dtype)
    assert fvus(model, ffn) == pytest.approx(expected, rel=1e-3)


def test_copies_keep_their_weights_under_another_default_dtype(set_default_dtype):
    model = bert(torch.float32)
    set_default_dtype(torch.bfloat16)
    copied = converted_copy(model, [None, "1x2"])
    kept = copied.state_dict()
    for name, weight in model.state_dict().items():
        if name in kept:
            assert torch.equal(kept[name], weight), name


def test_copies_keep_rotary_tables_in_float32():
    """Far positions would be off by radians: 1000 times an error of 2^-9."""
    tokens = {f"{name}_token_id": 0 for name in ("pad", "bos", "eos", "cls", "sep")}
    config = ModernBertConfig(vocab_size=60, hidden_size=32, **SIZES, **tokens)
    model = AutoModel.from_config(config, dtype=torch.bfloat16).eval()
    copied = converted_copy(model, [None, None])
    tables = dict(copied.named_buffers())
    for name, table in model.named_buffers():
        assert torch.equal(tables[name], table), name
        assert tables[name].dtype == table.dtype
    ids = torch.randint(1, 60, (1, 1000))
    with torch.no_grad():
        assert torch.equal(copied(ids).last_hidden_state, model(ids).last_hidden_state)
