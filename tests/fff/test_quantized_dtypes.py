"""Activations of any dtype beside quantized weights, and beside others."""

import copy

import numpy as np
import pytest
import torch
from encoders import save_dense_encoder
from transformers import AutoModel

from ultrafastbert import FastFeedForward, sentence_transformer, use_kernel
from ultrafastbert.models.converted.model import converted_copy

DTYPES = [torch.float16, torch.float64, torch.bfloat16]
# Largest distance of unit vectors from those in float32.
BOUNDS = {torch.float16: 2e-3, torch.float64: 1e-5, torch.bfloat16: 2e-2}
TEXTS = ["The small tree skips the leaf.", "A leaf."]

every_dtype = pytest.mark.parametrize("dtype", DTYPES, ids=lambda dtype: str(dtype)[6:])
both_weights = pytest.mark.parametrize("weight_dtype", ["bfloat16", "int8"])


def quantized(weight_dtype="int8", exact_routing=False, **options):
    torch.manual_seed(0)
    layer = FastFeedForward(12, 3, 2, 2, leaf_output_bias=True, **options)
    torch.nn.init.normal_(layer.b_out)
    return layer.quantize_(weight_dtype, exact_routing)


@every_dtype
@both_weights
@pytest.mark.parametrize("exact_routing", [False, True])
@pytest.mark.parametrize("kernel", [None, "gather", "masked"])
@torch.no_grad()
def test_layers_take_any_dtype(dtype, weight_dtype, exact_routing, kernel):
    layer = quantized(weight_dtype, exact_routing)
    x = torch.randn(6, 12).to(dtype)
    with use_kernel(kernel):
        expected = layer(x.float())
        for converted in (layer, copy.deepcopy(layer).to(dtype)):
            for _ in range(2):
                y = converted(x)
                assert y.dtype == dtype
                torch.testing.assert_close(y.float(), expected, rtol=2e-2, atol=2e-2)
                if dtype != torch.bfloat16:  # computed in float32, rounded once
                    assert torch.equal(y, expected.to(dtype))
    assert torch.equal(layer.visited_leaves(x), layer.visited_leaves(x.float()))


@every_dtype
@torch.no_grad()
def test_layers_with_a_dense_block_are_converted_as_a_whole(dtype):
    layer = quantized(shared_size=4)
    x = torch.randn(6, 12)
    expected = layer(x)
    y = layer.to(dtype)(x.to(dtype))
    assert y.dtype == dtype
    torch.testing.assert_close(y.float(), expected, rtol=4e-2, atol=4e-2)


@pytest.fixture
def fresh_compiler():
    """Keep compilations apart: PyTorch counts those of a function, and gives up after a few."""
    torch.compiler.reset()
    yield
    torch.compiler.reset()


@every_dtype
@pytest.mark.usefixtures("fresh_compiler")
@torch.no_grad()
def test_compilers_take_any_dtype(dtype):
    layer, x = quantized(), torch.randn(6, 12).to(dtype)
    compiled = torch.compile(layer, fullgraph=True, backend="eager")
    assert torch.equal(compiled(x), layer(x))
    exported = torch.export.export(layer, (x,)).module()
    assert torch.equal(exported(x), layer(x))


@pytest.mark.parametrize("low", [torch.bfloat16, torch.float16])
@torch.no_grad()
def test_autocast_beside_quantized_weights(low):
    layer = quantized(shared_size=4)
    dense, x = torch.nn.Linear(12, 12), torch.randn(6, 12)
    expected = layer(dense(x))
    with torch.autocast("cpu", low):
        y = layer(dense(x))
    torch.testing.assert_close(y.float(), expected, rtol=5e-2, atol=5e-2)


@both_weights
@pytest.mark.parametrize("kernel", [None, "gather"])
def test_whole_numbers_are_refused(weight_dtype, kernel):
    layer, x = quantized(weight_dtype), torch.ones(6, 12, dtype=torch.int64)
    for call in (layer, layer.visited_leaves):
        with use_kernel(kernel), pytest.raises(TypeError, match=r"x has dtype torch\.int64"):
            call(x)


@pytest.mark.parametrize(
    ("x_dtype", "weight_dtype"),
    [
        (torch.float16, torch.float32),
        (torch.float64, torch.bfloat16),
        (torch.float64, torch.float32),
        (torch.float32, torch.float64),
        (torch.int64, torch.float32),
    ],
)
def test_plain_weights_of_another_dtype_are_named(x_dtype, weight_dtype):
    layer = FastFeedForward(12, 3, dtype=weight_dtype)
    x = torch.ones(6, 12, dtype=x_dtype)
    for with_gradient in (True, False):
        with torch.set_grad_enabled(with_gradient), pytest.raises(TypeError) as raised:
            layer(x)
        assert str(x_dtype) in str(raised.value)


@every_dtype
@pytest.mark.parametrize("leak", [0.0, 0.2])
def test_soft_training_in_any_dtype(dtype, leak):
    torch.manual_seed(0)
    layer = FastFeedForward(12, 3, leaf_output_bias=True, soft_training=True, region_leak=leak)
    x = torch.randn(6, 12)
    expected = layer(x)
    y = layer.to(dtype)(x.to(dtype))
    assert y.dtype == dtype
    if not leak:  # what leaks is drawn anew
        torch.testing.assert_close(y.float(), expected, rtol=5e-2, atol=5e-2)
    y.float().square().sum().backward()
    assert all(parameter.grad.isfinite().all() for parameter in layer.parameters())


@pytest.fixture(scope="module")
def folders(tokenizer, tmp_path_factory):
    """Folders of a converted model, by the dtype of its weights."""
    path = tmp_path_factory.mktemp("converted")
    dense = AutoModel.from_pretrained(save_dense_encoder(tokenizer, path / "dense"))
    torch.manual_seed(0)
    model = converted_copy(dense, ["1x2x2", "1x3"])
    for weight_dtype in ("bfloat16", "int8"):
        copied = copy.deepcopy(model).quantize_(weight_dtype, exact_routing=True)
        copied.save_pretrained(path / weight_dtype)
        tokenizer.save_pretrained(path / weight_dtype)
    return path


@every_dtype
@both_weights
def test_models_are_loaded_and_converted_in_any_dtype(folders, dtype, weight_dtype):
    pytest.importorskip("sentence_transformers")
    folder, options = folders / weight_dtype, {"device": "cpu", "normalize": True}
    expected = sentence_transformer(folder, **options)
    vectors = expected.encode(TEXTS)
    loaded = sentence_transformer(folder, model_kwargs={"dtype": dtype}, **options)
    for model in (loaded, sentence_transformer(folder, **options).to(dtype)):
        assert model[0].model.dtype == dtype
        # Half precision must not have reached the scales.
        same = zip(weights_of(model), weights_of(expected), strict=True)
        assert all(torch.equal(a, b) and a.dtype == b.dtype for a, b in same)
        found = model.encode(TEXTS).astype(np.float64)
        assert np.linalg.norm(found - vectors, axis=1).max() < BOUNDS[dtype]


def weights_of(encoder):
    layers = (m for m in encoder.modules() if isinstance(m, FastFeedForward))
    return [w for layer in layers for w in layer.weights() if w is not None]


@pytest.mark.parametrize("dtype", DTYPES[:2], ids=str)
def test_the_bundled_model_in_any_dtype(dtype):
    pytest.importorskip("sentence_transformers")
    expected = sentence_transformer(device="cpu").encode(TEXTS)
    options = {"device": "cpu", "model_kwargs": {"dtype": dtype}}
    vectors = sentence_transformer(**options).encode(TEXTS).astype(np.float64)
    # float32 multiplies int8 leaves with integers of 16 bits, float64 does not.
    assert np.linalg.norm(vectors - expected, axis=1).max() < max(BOUNDS[dtype], 1e-4)
