"""The table of kernels and the choice among them, with made-up kernels beside those there are."""

import pytest
import torch
from kernel_cases import problem

from ultrafastbert import FastFeedForward, fast_feedforward, kernels, use_kernel
from ultrafastbert.fff.spec import TreeSpec
from ultrafastbert.kernels import KERNELS, check_kernel, choose_kernel, gather, usable_kernels
from ultrafastbert.kernels.base import Kernel
from ultrafastbert.kernels.plain import PlainKernel


class Wide(PlainKernel):
    """A kernel for wide layers alone, which may lack something."""

    lacks = ""

    def why_unavailable(self):
        return self.lacks

    def is_available(self):
        return not self.lacks

    def supports(self, problem):
        return problem.hidden_size >= 16


@pytest.fixture
def wide(monkeypatch) -> Kernel:
    """Put a kernel in front of the others."""
    kernel = Wide("wide", gather.forward, gather.backward)
    others = dict(KERNELS)
    monkeypatch.setattr(kernels, "KERNELS", {"wide": kernel, **others})
    return kernel


def test_names_are_those_of_the_kernels():
    assert all(kernel.name == name for name, kernel in KERNELS.items())


@pytest.mark.parametrize("kernel", KERNELS.values(), ids=KERNELS)
def test_a_kernel_is_available_or_says_why_not(kernel):
    assert kernel.is_available() == (kernel.why_unavailable() == "")


def test_a_kernel_sees_the_shapes(wide):
    small = problem(3)
    large = small._replace(hidden_size=16)
    assert choose_kernel(None, large) is wide
    assert choose_kernel(None, small) is not wide
    assert wide not in usable_kernels(small)
    with pytest.raises(ValueError, match=r"kernel='wide' does not take .*hidden_size=8"):
        choose_kernel("wide", small)
    weights = FastFeedForward(16, 2)
    x = torch.randn(3, 16)
    y = fast_feedforward(x, weights.w_in, weights.b_in, weights.w_out, 2, kernel="wide")
    torch.testing.assert_close(y, weights(x))


def test_a_missing_kernel_says_what_itself_lacks(wide, monkeypatch):
    monkeypatch.setattr(Wide, "lacks", "it needs a wider machine")
    with pytest.raises(ValueError, match="'wide' is not available: it needs a wider"):
        check_kernel("wide")
    kernels._warn_that_it_is_missing.cache_clear()
    large = problem(3)._replace(hidden_size=16)
    with pytest.warns(RuntimeWarning, match="'wide' is not available .* a wider machine"):
        assert choose_kernel(None, large) is not wide
    choose_kernel(None, large)  # warnings are errors here: there is no second one
    choose_kernel(None, problem(3))  # nor one where it would not compute


def test_a_kernel_without_quantized_weights_gets_them_expanded(wide):
    layer = FastFeedForward(16, 2).quantize_("int8")
    x = torch.randn(3, 16)
    with torch.no_grad():
        expected = layer(x)
        with use_kernel("wide"):
            torch.testing.assert_close(layer(x), expected)
            operator = torch.ops.ultrafastbert.fast_feedforward_quantized
            y, _ = operator(x, *layer.weights(), 2, 1, "gelu", True)
        torch.testing.assert_close(y, expected)


def test_a_kernel_that_prepares_nothing_is_called_by_the_operator(wide):
    layer, x = FastFeedForward(16, 2, kernel="wide"), torch.randn(3, 16)
    with torch.no_grad():
        layer(x)
    assert layer._prepared is None
    assert kernels.prepare(None, layer.problem(x.dtype), layer._parameters) is None


def test_the_spec_is_what_kernels_get(wide):
    *tensors, spec = torch.randn(2, 16), torch.randn(1, 7, 16), torch.randn(1, 7), TreeSpec(2)
    y, leaf, logits = wide.forward(*tensors, torch.randn(1, 7, 3), spec)
    assert (y.shape, leaf.shape, logits.shape) == ((2, 3), (2, 1), (2, 1, 3))
