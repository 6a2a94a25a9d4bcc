"""Tensors without plain memory: a call without gradients gives what one with gradients does."""

import pytest
import torch
from torch import nn
from torch._subclasses import FakeTensorMode
from torch.testing._internal.two_tensor import TwoTensor
from torch.utils._python_dispatch import TorchDispatchMode

from ultrafastbert import FastFeedForward
from ultrafastbert.kernels import native


def warm_layer(**options):
    """Return a layer whose next call without gradients takes the fast path."""
    torch.manual_seed(0)
    layer = FastFeedForward(8, depth=3, leaf_size=2, **options)
    with torch.no_grad():
        for _ in range(2):
            layer(torch.randn(5, 8))
    return layer


def result_of(layer, x):
    try:
        return layer(x)
    except (RuntimeError, TypeError, ValueError, NotImplementedError) as error:
        return type(error)


class Plain(torch.Tensor):
    """A subclass that adds nothing."""


UNUSUAL = {
    "negative view": lambda x: torch._neg_view(x),
    "imaginary part of a conjugate": lambda x: torch.complex(x, x).conj().imag,
    "zeros without memory": lambda x: torch._efficientzerotensor(x.shape),
    "subclass": lambda x: x.as_subclass(Plain),
    "parameter": lambda x: nn.Parameter(x, requires_grad=False),
    "wrapper": lambda x: TwoTensor(x, x),
    "functional": lambda x: torch._to_functional_tensor(x),
    "sparse": lambda x: x.to_sparse(),
    "mkldnn": lambda x: x.to_mkldnn(),
    "meta": lambda x: x.to("meta"),
    "complex": lambda x: torch.complex(x, x),
    "expanded": lambda x: x[:1].expand(5, 8),
    "transposed": lambda x: x.T.contiguous().T,
    "other sizes": lambda x: x[:, :7],
    "quantized": lambda x: torch.quantize_per_tensor(x, 0.1, 0, torch.qint8),
    "nested": lambda x: torch.nested.nested_tensor([x, x[:2]], layout=torch.jagged),
    "no sizes": lambda x: x[0, 0],
}


@pytest.mark.filterwarnings("ignore:.*")  # of PyTorch about such tensors
@pytest.mark.parametrize("weight_dtype", [None, "int8"])
@pytest.mark.parametrize("make", UNUSUAL.values(), ids=UNUSUAL)
def test_tokens_that_are_not_plain(make, weight_dtype):
    layer, plain = warm_layer(), torch.randn(5, 8, generator=torch.Generator().manual_seed(1))
    if weight_dtype:
        layer = warm_layer().quantize_(weight_dtype)
        with torch.no_grad():
            layer(plain), layer(plain)
    x = make(plain)
    expected = result_of(layer, x)
    with torch.no_grad():
        for _ in range(2):
            got = result_of(layer, x)
            if isinstance(expected, type):
                assert got is expected
            else:
                assert type(got) is type(expected)
                assert not got.is_neg()
                assert got.shape == expected.shape
                assert as_plain(got) == as_plain(expected)


def as_plain(tensor):
    """Return the elements of a tensor of any kind, for comparison."""
    if isinstance(tensor, TwoTensor):
        return [as_plain(tensor.a), as_plain(tensor.b)]
    if torch._is_functional_tensor(tensor):
        torch._sync(tensor)
        tensor = torch._from_functional_tensor(tensor)
    return "meta" if tensor.is_meta else tensor.detach().tolist()


WEIGHTS = {
    "negative view": lambda w: torch._neg_view(w),
    "wrapper": lambda w: TwoTensor(w, w),
    "subclass": lambda w: w.as_subclass(Plain),
    "transposed": lambda w: w.mT.contiguous().mT,
}


@pytest.mark.filterwarnings("ignore:.*")
@pytest.mark.parametrize("name", ["w_in", "b_in", "w_out"])
@pytest.mark.parametrize("make", WEIGHTS.values(), ids=WEIGHTS)
def test_weights_that_are_not_plain(make, name):
    layer, x = warm_layer(), torch.randn(5, 8)
    setattr(layer, name, nn.Parameter(make(getattr(layer, name).detach())))
    expected = result_of(layer, x)
    with torch.no_grad():
        for _ in range(3):
            got = result_of(layer, x)
            assert type(got) is type(expected)
            assert as_plain(got) == as_plain(expected)


def test_a_negative_view_has_its_sign():
    layer, x = warm_layer(), torch.randn(5, 8)
    with torch.no_grad():
        assert torch.equal(layer(torch._neg_view(x)), layer(-x))
        assert not torch.equal(layer(-x), layer(x))


@torch.no_grad()
def test_weights_that_become_a_negative_view_in_place():
    layer, x = warm_layer(), torch.randn(5, 8)
    expected = -layer(x)
    layer.w_out.data = torch._neg_view(layer.w_out.data)
    for _ in range(2):
        assert torch.equal(layer(x), expected)


@torch.no_grad()
def test_no_tokens_take_the_fast_path():
    layer = warm_layer()
    if native.can_prepare():
        assert layer._prepared.call(torch.zeros(0, 8)).shape == (0, 8)


def test_layers_built_and_called_with_fake_tensors():
    with FakeTensorMode(), torch.no_grad():
        layer = FastFeedForward(8, depth=3)
        for _ in range(2):
            assert layer(torch.randn(2, 5, 8)).shape == (2, 5, 8)


def test_fake_tokens_beside_real_weights():
    layer, x = warm_layer(), torch.randn(5, 8)
    mode = FakeTensorMode(allow_non_fake_inputs=True)
    with torch.no_grad():
        assert layer(mode.from_tensor(x)).shape == (5, 8)
        with mode:
            assert layer(torch.randn(5, 8)).shape == (5, 8)
        assert torch.equal(layer(x), layer(x))


def test_meta_layers():
    with torch.device("meta"), torch.no_grad():
        layer = FastFeedForward(8, depth=3)
        for _ in range(2):
            assert layer(torch.randn(5, 8)).is_meta


def test_modes_see_the_operator():
    class Seen(TorchDispatchMode):
        def __init__(self):
            super().__init__()
            self.names = []

        def __torch_dispatch__(self, func, types, args=(), kwargs=None):
            self.names.append(str(func))
            return func(*args, **(kwargs or {}))

    layer, x = warm_layer(), torch.randn(5, 8)
    with torch.no_grad(), Seen() as seen:
        layer(x)
    assert "ultrafastbert.fast_feedforward.default" in seen.names


def test_functionalized_calls():
    layer, x = warm_layer(), torch.randn(5, 8)
    with torch.no_grad():
        torch.testing.assert_close(torch.func.functionalize(layer)(x), layer(x))


@pytest.mark.parametrize(
    "make", [*WEIGHTS.values(), torch._efficientzerotensor], ids=[*WEIGHTS, "zeros without memory"]
)
def test_only_plain_tensors_have_an_address(make):
    w = torch.randn(3, 3)
    assert native.has_address(w)
    assert native.has_address(nn.Parameter(w))
    made = make((3, 3)) if make is torch._efficientzerotensor else make(w)
    assert native.has_address(made) == (make is WEIGHTS["transposed"])
