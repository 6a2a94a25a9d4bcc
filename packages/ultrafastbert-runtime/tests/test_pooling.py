"""Pooling, by its definition on each text without padding."""

import numpy as np
import pytest
from tiny import write_folder, write_json
from ultrafastbert_runtime import Encoder
from ultrafastbert_runtime.pooling import MODES, pool, unit

DEFINED = {
    "cls": lambda x: x[0],
    "lasttoken": lambda x: x[-1],
    "max": lambda x: x.max(axis=0),
    "mean": lambda x: x.mean(axis=0),
    "mean_sqrt_len_tokens": lambda x: x.sum(axis=0) / np.sqrt(len(x)),
    "weightedmean": lambda x: np.average(x, axis=0, weights=np.arange(1, len(x) + 1)),
}


@pytest.mark.parametrize("mode", MODES)
def test_pools_without_padding(mode):
    states = np.random.default_rng(0).standard_normal((4, 7, 5)).astype(np.float32)
    lengths = [7, 1, 3, 6]
    mask = np.array([[1] * n + [0] * (7 - n) for n in lengths])
    states[mask == 0] = 1e3  # a trace of it would be seen
    wanted = [DEFINED[mode](x[:n]) for x, n in zip(states, lengths, strict=True)]
    found = pool(states, mask, mode)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, wanted, rtol=1e-5, atol=1e-6)


def test_zeros_have_no_direction():
    assert np.array_equal(unit(np.zeros((1, 3), np.float32)), np.zeros((1, 3)))


WRONG = {
    "dense": ([{"type": "x.Transformer", "path": ""}, {"type": "x.Dense", "path": ""}], "Dense"),
    "no list": ({"type": 3}, "must list modules"),
    "no type": ([{"path": ""}], "must list modules"),
    "no pooling": ([{"type": "x.Transformer", "path": ""}], "only Transformer, Pooling"),
}


@pytest.mark.parametrize("case", WRONG)
def test_modules_that_cannot_be_run(tmp_path, case):
    modules, message = WRONG[case]
    folder = write_folder(tmp_path)
    write_json(folder / "modules.json", modules)
    with pytest.raises(ValueError, match=message) as raised:
        Encoder(folder)
    assert "modules.json" in str(raised.value)


@pytest.mark.parametrize("mode", ["median", 3, [["mean"]]])
def test_unknown_modes(tmp_path, mode):
    folder = write_folder(tmp_path)
    write_json(folder / "1_Pooling" / "config.json", {"pooling_mode": mode})
    with pytest.raises(ValueError, match=r"1_Pooling/config\.json: pooling_mode="):
        Encoder(folder)
