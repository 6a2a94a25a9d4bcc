"""Tables of positions: rounded from float32, however a model gets its dtype; the same on reload."""

from contextlib import contextmanager

import pytest
import torch
from tiny_models import FFN
from transformers import AutoModel

from ultrafastbert import UltraFastBertConfig, UltraFastBertModel
from ultrafastbert.models.bert.embeddings import sinusoids

N_POSITIONS, SIZE = 512, 32
DTYPES = [torch.bfloat16, torch.float16, torch.float32, torch.float64]
POSITIONS = ["scaled_sinusoidal", "rotary"]

every_dtype = pytest.mark.parametrize("dtype", DTYPES, ids=lambda dtype: str(dtype)[6:])
every_kind = pytest.mark.parametrize("kind", POSITIONS)


def config(kind="scaled_sinusoidal", **options):
    sizes = {"vocab_size": 61, "hidden_size": SIZE, "num_hidden_layers": 2, **FFN["fff"]}
    heads = {"num_attention_heads": 2, "max_position_embeddings": N_POSITIONS}
    fields = {**sizes, **heads, "initializer_range": 0.3, "position_embedding_type": kind}
    return UltraFastBertConfig(**{**fields, **options})


@contextmanager
def default_dtype(dtype):
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        yield
    finally:
        torch.set_default_dtype(before)


def by_default_dtype(kind, dtype, folder):
    with default_dtype(dtype):
        return UltraFastBertModel(config(kind))


def by_config(kind, dtype, folder):
    return AutoModel.from_config(config(kind, dtype=dtype))


def from_meta(kind, dtype, folder):
    with torch.device("meta"):
        model = UltraFastBertModel(config(kind)).to(dtype)
    model.to_empty(device="cpu")
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(std=0.3)
    return model


def by_loading(kind, dtype, folder):
    UltraFastBertModel(config(kind)).save_pretrained(folder)
    return AutoModel.from_pretrained(folder, dtype=dtype)


def longer(kind, dtype, folder):
    UltraFastBertModel(config(kind, max_position_embeddings=16)).save_pretrained(folder)
    return AutoModel.from_pretrained(folder, dtype=dtype, max_position_embeddings=N_POSITIONS)


WAYS = {
    "from_config": lambda kind, dtype, _: AutoModel.from_config(config(kind), dtype=dtype),
    "config.dtype": by_config,
    "default dtype": by_default_dtype,
    "loaded": by_loading,
    "loaded longer": longer,
    "converted": lambda kind, dtype, _: UltraFastBertModel(config(kind)).to(dtype),
    "converted twice": lambda kind, dtype, _: UltraFastBertModel(config(kind)).bfloat16().to(dtype),
    "from meta": from_meta,
}
every_way = pytest.mark.parametrize("way", WAYS)


def exact_table():
    position, column = torch.arange(N_POSITIONS).double(), torch.arange(0, SIZE, 2).double()
    angle = position[:, None] * 10000 ** (-column / SIZE)
    return torch.stack([angle.sin(), angle.cos()], -1).flatten(1)


@every_dtype
@every_way
def test_the_table_is_that_of_float32(way, dtype, tmp_path):
    model = WAYS[way]("scaled_sinusoidal", dtype, tmp_path / "saved")
    table = model.embeddings.sinusoids
    assert torch.equal(table.float(), sinusoids(N_POSITIONS, SIZE))
    assert (table.double() - exact_table()).abs().max() < 1e-4
    assert model.dtype == dtype


@every_kind
@every_dtype
@every_way
@torch.no_grad()
def test_saved_and_reloaded_outputs_are_equal(way, dtype, kind, tmp_path):
    torch.manual_seed(0)
    model = WAYS[way](kind, dtype, tmp_path / "saved").eval()
    assert model.dtype == dtype
    ids = torch.randint(1, 61, (2, N_POSITIONS))
    expected = model(ids).last_hidden_state
    assert expected.dtype == dtype
    assert expected.isfinite().all()
    model.save_pretrained(tmp_path / "again")
    again = AutoModel.from_pretrained(tmp_path / "again").eval()
    assert again.dtype == dtype
    assert torch.equal(again(ids).last_hidden_state, expected)


@every_kind
@torch.no_grad()
def test_low_precision_keeps_far_positions_apart(kind):
    """Rounding moves outputs by little; positions that are off by a radian would change them."""
    torch.manual_seed(0)
    model = UltraFastBertModel(config(kind, ffn_type="none")).eval()
    ids = torch.randint(1, 61, (1, N_POSITIONS))
    expected = model(ids).last_hidden_state
    for dtype in (torch.bfloat16, torch.float16):
        low = AutoModel.from_config(config(kind, ffn_type="none"), dtype=dtype).eval()
        low.load_state_dict(model.state_dict())
        with default_dtype(dtype):
            output = low(ids).last_hidden_state
        error = (output.float() - expected).norm() / expected.norm()
        assert error < 8 * torch.finfo(dtype).eps, dtype
