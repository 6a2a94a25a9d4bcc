"""What is read and computed under another default dtype of PyTorch is the same."""

import copy

import pytest
import torch
from crammed_models import make_config, make_tensors, save
from kernel_cases import usable

from ultrafastbert import FastFeedForward, UltraFastBertForMaskedLM, use_kernel
from ultrafastbert.inference.engines.unrolled import UnrolledFeedForward

DTYPES = [torch.bfloat16, torch.float16, torch.float64]


@pytest.fixture(params=DTYPES, ids=str)
def under_default(request):
    """Return a function that calls another under a default dtype."""

    def call(function):
        torch.set_default_dtype(request.param)
        try:
            return function()
        finally:
            torch.set_default_dtype(torch.float32)

    yield call
    torch.set_default_dtype(torch.float32)


def test_published_checkpoints_are_read_the_same(under_default, tmp_path):
    config = make_config()
    folder = save(tmp_path, config, make_tensors(config))
    options = {"dtype": torch.float32}

    def load():
        return UltraFastBertForMaskedLM.from_pretrained(folder, **options).state_dict()

    expected = load()
    for name, weight in under_default(load).items():
        assert weight.dtype == torch.float32
        assert torch.equal(weight, expected[name]), name


@pytest.mark.parametrize("weight_dtype", [None, "bfloat16", "int8"])
@torch.no_grad()
def test_layers_compute_the_same(under_default, weight_dtype):
    torch.manual_seed(0)
    layer = FastFeedForward(12, 3, 2, 2, leaf_output_bias=True)
    layer.b_out.normal_()
    x = torch.randn(6, 12)

    def outputs():
        one = copy.deepcopy(layer)
        if weight_dtype:
            one.quantize_(weight_dtype)
        found = [one(x), one(x), UnrolledFeedForward(one)(x), one.visited_leaves(x)]
        for name in usable(layer.depth, x.dtype):
            with use_kernel(name):
                found.append(one(x))
        return found

    expected = outputs()
    for got, wanted in zip(under_default(outputs), expected, strict=True):
        assert got.dtype == wanted.dtype
        assert torch.equal(got, wanted)
