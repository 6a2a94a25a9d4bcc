"""Models optimized for inference in PyTorch: outputs, choices, saving and loading, errors."""

import copy
import json
import pickle
import re

import numpy as np
import pytest
import torch
from safetensors.torch import load_model, save_model
from tiny_architectures import batch_for, strengthen, tiny_model
from tiny_models import HEADS, build, inputs
from torch import nn
from transformers import AutoModel, AutoModelForMaskedLM, BertConfig, BertForMaskedLM

import ultrafastbert
from ultrafastbert import (
    FastFeedForward,
    UltraFastBertForMaskedLM,
    UltraFastBertForSequenceClassification,
    UltraFastBertModel,
)
from ultrafastbert.inference import load_optimized, optimize
from ultrafastbert.inference.optimized import backends, choice, model
from ultrafastbert.inference.optimized.linear import OptimizedLinear
from ultrafastbert.models.converted.architectures import location_of
from ultrafastbert.models.converted.model import converted_copy

PRECISIONS = tuple(choice.ALLOWED)
# Relative errors of outputs. A token may change its path, so trees of random models differ more.
TOLERANCE = {"fp32": 1e-5, "bf16": 0.1, "int8": 0.3}
TEXTS = ["The small tree skips the leaf.", "A leaf.", "The fast path reads the dense node."]

every_precision = pytest.mark.parametrize("precision", PRECISIONS)
every_linear = pytest.mark.parametrize("linear", backends.available_linears(), ids=str)


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    """Time few tokens, few times."""
    monkeypatch.setattr(choice, "N_TOKENS", (4,))
    monkeypatch.setattr(choice, "SECONDS", 0.0)
    choice._fastest.cache_clear()
    yield
    choice._fastest.cache_clear()


@pytest.fixture
def force(monkeypatch):
    """Return a function that makes one implementation the choice for every layer."""

    def forced(linear):
        def choose(in_features, out_features, has_bias, precision):
            return choice.Choice(in_features, out_features, linear, ((4, 1.0),))

        monkeypatch.setattr(model, "fastest_linear", choose)

    return forced


def first(output):
    return next(iter(output.values()))


def error(a, b):
    return float((a - b).norm() / b.norm())


def run(module, batch):
    with torch.no_grad():
        return first(module(**batch))


def dense():
    return nn.Sequential(nn.Linear(24, 40), nn.GELU(), nn.Linear(40, 8, bias=False)).eval()


@every_precision
@pytest.mark.parametrize("model_class", [UltraFastBertModel, *HEADS], ids=lambda c: c.__name__[13:])
def test_models_of_ours_give_nearly_the_same(model_class, precision):
    original = build(model_class)
    batch = inputs(model_class)
    before, state = run(original, batch), copy.deepcopy(original.state_dict())
    fast = optimize(original, precision)
    assert error(run(fast, batch), before) < TOLERANCE[precision]
    assert type(fast) is model_class
    trees = [m for m in fast.modules() if isinstance(m, FastFeedForward)]
    assert {tree.weight_dtype for tree in trees} == {model.WEIGHT_DTYPE[precision]}
    assert not any(type(module) is nn.Linear for module in fast.modules())
    assert all(torch.equal(value, state[name]) for name, value in original.state_dict().items())


@every_precision
@pytest.mark.parametrize("name", ["bert", "modernbert", "distilbert", "gpt2", "vit"])
def test_models_of_others_and_converted_ones_give_nearly_the_same(name, precision):
    original = tiny_model(name)
    location = location_of(original)
    strengthen(original, location)
    n_layers = original.config.num_hidden_layers
    for each in (original, converted_copy(original, ["1x2x4"] * n_layers, location).eval()):
        batch = batch_for(each)
        fast = optimize(each, precision)
        assert error(run(fast, batch), run(each, batch)) < TOLERANCE[precision]
        assert sum(fast.optimization.choices.values()) > 0


@every_linear
def test_every_way_takes_any_shape_and_gives_its_weight_back(linear, force):
    force(linear)
    torch.manual_seed(0)
    original = dense()
    fast = optimize(original, "int8")
    tolerance = backends.TOLERANCE[linear.precision]
    with torch.no_grad():
        for shape in ((24,), (5, 24), (2, 3, 24), (0, 24), (2, 0, 24), (1, 1, 24)):
            x = torch.randn(shape)
            assert fast(x).shape == original(x).shape
            if x.numel():
                assert error(fast(x), original(x)) < 2 * tolerance
        for shape in ((5, 23), ()):
            with pytest.raises(ValueError, match=r"must be \(\.\.\., 24\)"):
                fast(torch.randn(shape))
        x = torch.randn(24, 7).T
        assert error(fast(x), original(x)) < 2 * tolerance
        assert fast(x.bfloat16()).dtype == torch.bfloat16
    for name, weight in fast.state_dict().items():
        assert weight.dtype == torch.float32
        assert error(weight, original.state_dict()[name]) < tolerance
    assert fast.state_dict().keys() == original.state_dict().keys()


@every_linear
def test_copies_and_pickles_compute_the_same(linear, force):
    force(linear)
    fast, x = optimize(dense(), "int8"), torch.randn(5, 24)
    for other in (copy.deepcopy(fast), pickle.loads(pickle.dumps(fast))):
        torch.testing.assert_close(other(x), fast(x))
        assert str(other.optimization) == str(fast.optimization)


def test_the_original_trains_and_the_copy_does_not():
    original = build(UltraFastBertForSequenceClassification)
    batch = inputs(UltraFastBertForSequenceClassification)
    fast = optimize(original, "bf16")
    before = run(fast, batch)
    original.train()(**batch, labels=torch.tensor([0, 1, 1])).loss.backward()
    assert all(parameter.grad is not None for parameter in original.classifier.parameters())
    torch.optim.SGD(original.parameters(), lr=1.0).step()
    assert torch.equal(run(fast, batch), before)
    assert not any(parameter.requires_grad for parameter in fast.parameters())


def tied_bert():
    torch.manual_seed(0)
    sizes = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2}
    config = BertConfig(vocab_size=250, intermediate_size=32, initializer_range=0.3, **sizes)
    return BertForMaskedLM(config).eval()


@every_linear
def test_tied_weights_stay_tied(linear, force, tmp_path):
    force(linear)
    original = tied_bert()
    fast, batch = optimize(original, "int8"), batch_for(original)
    state = fast.state_dict()
    embeddings = state["bert.embeddings.word_embeddings.weight"]
    assert state["cls.predictions.decoder.weight"].data_ptr() == embeddings.data_ptr()
    assert torch.equal(embeddings, original.get_input_embeddings().weight)
    fast.save_pretrained(tmp_path)
    loaded = AutoModelForMaskedLM.from_pretrained(tmp_path)
    assert loaded.get_output_embeddings().weight is loaded.get_input_embeddings().weight
    again = load_optimized(tmp_path)
    torch.testing.assert_close(run(again, batch), run(fast, batch), rtol=1e-3, atol=1e-4)


@every_precision
@pytest.mark.parametrize("kind", ["ours", "converted", "dense"])
def test_saved_models_load_plain_and_optimized(kind, precision, tmp_path):
    if kind == "ours":
        original = build(UltraFastBertForMaskedLM)
    elif kind == "converted":
        original = converted_copy(tied_bert(), ["1x2x4"] * 2).eval()
    else:
        original = tied_bert()
    batch = {"input_ids": torch.randint(1, 61, (2, 8))}
    fast = optimize(original, precision)
    fast.save_pretrained(tmp_path)
    assert not list(tmp_path.glob("*.bin"))
    plain = AutoModelForMaskedLM.from_pretrained(tmp_path)
    assert error(run(plain, batch), run(original, batch)) < TOLERANCE[precision]
    assert not any(isinstance(module, OptimizedLinear) for module in plain.modules())
    again = load_optimized(tmp_path)
    assert again.optimization.precision == precision
    assert type(again).__name__ == type(original).__name__
    assert error(run(again, batch), run(fast, batch)) < TOLERANCE[precision]


def test_loading_needs_a_precision_that_is_known(tmp_path):
    tied_bert().save_pretrained(tmp_path)
    with pytest.raises(ValueError, match="without being optimized: give precision="):
        load_optimized(tmp_path)
    assert load_optimized(tmp_path, "bf16").optimization.precision == "bf16"
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps({**config, "inference_precision": "int2"}))
    with pytest.raises(ValueError, match=r"inference_precision='int2' in config\.json is unknown"):
        load_optimized(tmp_path)
    with pytest.raises(OSError, match="missing is no folder"):
        load_optimized(tmp_path / "missing")


def test_a_plain_module_saves_to_safetensors(tmp_path):
    original, path = dense(), str(tmp_path / "model.safetensors")
    save_model(optimize(original, "fp32"), path)
    other = dense()
    load_model(other, path)
    assert all(map(torch.equal, original.parameters(), other.parameters()))


@every_precision
def test_sentence_transformers(precision, tokenizer, tmp_path):
    pytest.importorskip("sentence_transformers")
    config = {"vocab_size": len(tokenizer), "initializer_range": 0.3}
    original = build(UltraFastBertModel, **config)
    original.save_pretrained(tmp_path / "model")
    tokenizer.save_pretrained(tmp_path / "model")
    encoder = ultrafastbert.sentence_transformer(tmp_path / "model", device="cpu")
    training = [module.training for module in encoder.modules()]
    fast = optimize(encoder, precision, texts=TEXTS)
    assert training == [module.training for module in encoder.modules()]
    found = fast.optimization.difference
    assert found.n_texts == 3
    assert found.of == "sentence vectors"
    assert found.relative_error < TOLERANCE[precision]
    vectors = fast.encode(TEXTS)
    assert vectors.dtype == np.float32
    fast.save_pretrained(str(tmp_path / "saved"))
    again = ultrafastbert.sentence_transformer(tmp_path / "saved", device="cpu")
    assert again.optimization.precision == precision
    assert error(*map(torch.from_numpy, (again.encode(TEXTS), vectors))) < TOLERANCE[precision]


def test_the_difference_is_stated_by_token_and_by_text(tokenizer):
    config = {"vocab_size": len(tokenizer), "initializer_range": 0.3}
    for model_class, of in (
        (UltraFastBertModel, "last_hidden_state by token"),
        (UltraFastBertForSequenceClassification, "logits by text"),
    ):
        fast = optimize(build(model_class, **config), "bf16", iter(TEXTS), tokenizer)
        found = fast.optimization.difference
        assert found.of == of
        assert 0.9 < found.cosine_least <= found.cosine_mean <= 1.0001
        lines = str(fast.optimization).splitlines()
        assert re.fullmatch(r"bf16: \d+ linear layers, 2 fast feedforward layers", lines[0])
        assert any(re.match(r"\d+ x 32 -> 32: \w+ (float32|bfloat16), ", line) for line in lines)
        assert lines[-1].startswith(f"{of} of 3 texts: mean cosine ")


def test_twice_is_once_and_other_precisions_are_refused():
    fast = optimize(dense(), "bf16")
    assert optimize(fast, "bf16") is fast
    with pytest.raises(ValueError, match="optimized already, for bf16; optimize the original"):
        optimize(fast, "int8")
    with pytest.raises(ValueError, match="a part of the model is optimized already"):
        optimize(nn.Sequential(fast).eval(), "bf16")


def test_quantized_trees_stay_as_they_are():
    original = build(UltraFastBertModel).quantize_("int8")
    fast = optimize(original, "int8")
    assert fast.config.weight_dtype == "int8"
    with pytest.raises(ValueError, match="quantized to int8 already; choose 'int8', or"):
        optimize(original, "bf16")


def not_finite():
    model = dense()
    with torch.no_grad():
        model[0].weight[0, 0] = torch.nan
    return model


WRONG = {
    "precision": (dense, {"precision": "int4"}, "precision='int4' is unknown; choose one of fp32"),
    "training": (lambda: dense().train(), {}, r"training mode \(0\): call model.eval\(\)"),
    "device": (lambda: dense().to("meta"), {}, r"the model is on meta.* model.to\('cpu'\) first"),
    "half": (lambda: dense().half(), {}, "0.weight is torch.float16: .* dtype=torch.float32"),
    "not finite": (not_finite, {}, "0.weight holds values that are not finite"),
    "nothing": (lambda: nn.Sequential(nn.GELU()).eval(), {}, "Sequential has no linear"),
    "no tokenizer": (dense, {"texts": TEXTS}, "no tokenizer, and Sequential has none"),
    "no texts": (dense, {"texts": [], "tokenizer": 1}, "texts is empty"),
    "one text": (dense, {"texts": "a text", "tokenizer": 1}, "texts"),
    "numbers": (dense, {"texts": [1], "tokenizer": 1}, "not a text"),
}


@pytest.mark.parametrize("case", WRONG)
def test_wrong_input_is_one_clear_line(case):
    make, options, message = WRONG[case]
    with pytest.raises(ValueError, match=message) as caught:
        optimize(make(), **options)
    assert "\n" not in str(caught.value)


@pytest.mark.filterwarnings("ignore:torch.ao.quantization is deprecated")
def test_models_quantized_by_torch_are_refused():
    quantized = torch.ao.quantization.quantize_dynamic(dense(), {nn.Linear})
    with pytest.raises(ValueError, match=r"0 is quantized already by torch\.ao"):
        optimize(quantized)


def test_an_optimized_model_stays_where_it_is():
    fast = optimize(dense())
    fast.to("cpu")
    for move in (fast.half, lambda: fast.to("meta")):
        with pytest.raises(RuntimeError, match="stays on the CPU in float32, not"):
            move()
    with pytest.raises(RuntimeError, match=r"0\.weight: an optimized model takes no weights"):
        fast.load_state_dict(dense().state_dict())


def test_layers_that_are_more_than_linear_stay():
    torch.manual_seed(0)
    layers = [nn.TransformerEncoderLayer(8, 2, 16, batch_first=True), nn.Linear(8, 8)]
    layers += [nn.utils.parametrizations.weight_norm(nn.Linear(8, 8)), nn.Linear(8, 8)]
    layers[1].register_forward_hook(lambda module, x, y: y + 1)
    original, x = nn.Sequential(*layers).eval(), torch.randn(2, 3, 8)
    fast = optimize(original)
    assert sum(isinstance(module, OptimizedLinear) for module in fast.modules()) == 1
    with torch.no_grad():
        torch.testing.assert_close(fast(x), original(x))


def test_ties_go_to_the_more_precise():
    linears = list(backends.LINEARS)
    fast = dict.fromkeys(linears, 1.0)
    assert choice._choose(linears, {4: fast, 8: fast}) is linears[0]
    slightly = {**fast, linears[-1]: 0.96}
    assert choice._choose(linears, {4: slightly, 8: slightly}) is linears[0]
    clearly = {**fast, linears[2]: 0.9, linears[-1]: 0.88}
    assert choice._choose(linears, {4: clearly, 8: clearly}) is linears[2]


def test_a_choice_is_made_once_and_may_be_more_precise():
    found = choice.fastest_linear(24, 40, True, "int8")
    assert choice.fastest_linear(24, 40, True, "int8") is found
    assert choice.fastest_linear(24, 40, True, "fp32").linear.precision == "float32"
    state = torch.random.get_rng_state()
    choice.fastest_linear(25, 40, True, "bf16")
    assert torch.equal(torch.random.get_rng_state(), state)


def test_what_computes_something_else_is_not_chosen(monkeypatch):
    def wrong(weight, bias, n_tokens, gelu):
        return backends.PackedLinear(lambda x: x.new_zeros(len(x), len(weight)), weight.float)

    eager = backends.LINEARS[0]
    cheat = backends.LinearImplementation("cheat", "int8", torch.float32, wrong, lambda: True)
    monkeypatch.setattr(choice, "available_linears", lambda: [eager, cheat])
    assert choice.fastest_linear(64, 64, True, "int8").linear is eager


def test_saved_models_that_were_not_optimized_load_as_before(tmp_path):
    tied_bert().save_pretrained(tmp_path)
    loaded = AutoModel.from_pretrained(tmp_path)
    assert model.optimize_as_saved(loaded) is loaded
