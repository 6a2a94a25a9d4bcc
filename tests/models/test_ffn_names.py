"""Short names of FF layers: what they stand for, and back."""

import pytest
import torch

from ultrafastbert.distill.scaling import measure
from ultrafastbert.models import UltraFastBertConfig
from ultrafastbert.models.bert.configuration import parse_ffn
from ultrafastbert.models.converted.feedforward import ConvertedFeedForward


@pytest.mark.parametrize("name", ["1x11", "2x3x4", "1x6x40+128", "2x3+1", "ff:7", "glu:8", "none"])
def test_configurations_give_the_name_back(name):
    assert UltraFastBertConfig(**parse_ffn(name)).ffn_name == name


@pytest.mark.parametrize("name", ["1x6x40+", "1x6x40+0", "1x6+4+4", "1x6+x", "+4", "ff:4+4"])
def test_what_is_no_name_is_an_error(name):
    with pytest.raises(ValueError, match=r"ffn .* (is unknown|needs a width)"):
        parse_ffn(name)


def test_a_dense_block_stands_beside_the_trees():
    torch.manual_seed(0)
    layer = ConvertedFeedForward(8, "2x2x3+5")
    assert (layer.ffn, layer.n_active) == ("2x2x3+5", 2 * (2 + 3) + 5)
    x = torch.randn(6, 8)
    with torch.no_grad():
        both = layer(x)
        dense = layer.inner.shared(x)
        layer.inner.shared.dense_out.weight.zero_()
        torch.testing.assert_close(layer(x) + dense, both)


def test_scaled_data_change_a_dense_block_with_its_trees():
    torch.manual_seed(0)
    layer, x, y = ConvertedFeedForward(8, "1x2x3+5"), torch.randn(50, 8) * 3 + 1, torch.randn(50, 8)
    scaling = measure(x, y)
    with torch.no_grad():
        wanted = layer(scaling.apply(x, y)[0]) * scaling.y_scale + scaling.y_mean
        scaling.fold_(layer)
        torch.testing.assert_close(layer(x), wanted, rtol=1e-4, atol=1e-4)
        scaling.unfold_(layer)
        torch.testing.assert_close(
            layer(scaling.apply(x, y)[0]),
            (wanted - scaling.y_mean) / scaling.y_scale,
            rtol=1e-4,
            atol=1e-4,
        )
