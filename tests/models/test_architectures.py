"""Which models convert: where their FF layers sit, known, named or not to be replaced."""

import json

import pytest
import torch
import transformers
from tiny_architectures import BERT_LIKE, GATED, OTHERS, VISION, batch_for, strengthen, tiny_model
from torch import nn
from transformers import (
    CONFIG_MAPPING,
    AutoConfig,
    AutoModel,
    AutoModelForCausalLM,
    AutoModelForImageClassification,
    AutoModelForMaskedLM,
    AutoTokenizer,
)

from ultrafastbert.distill import RegressionConfig, convert_model, in_memory
from ultrafastbert.models.converted import model as converted
from ultrafastbert.models.converted.architectures import FeedForwardLocation, layers_of, location_of
from ultrafastbert.models.converted.configuration import register_converted
from ultrafastbert.models.converted.folder import load_dense
from ultrafastbert.models.converted.hooks import check_replaceable, run_hooked
from ultrafastbert.models.converted.model import converted_copy
from ultrafastbert.models.converted.norms import norms_after
from ultrafastbert.report.convert_tables import convert_layer_table
from ultrafastbert.rows.conversion import ConvertLayerRow
from ultrafastbert.rows.row import columns_of

BART = "encoder.layers.*.fc1,activation_fn,fc2"
FEW_STEPS = RegressionConfig(steps=150, batch_tokens=128)


@pytest.mark.parametrize("model_type", BERT_LIKE + GATED + OTHERS + VISION)
def test_converted_model_is_saved_and_loaded(model_type, tmp_path):
    model = tiny_model(model_type)
    model.save_pretrained(tmp_path / "dense")
    model = AutoModel.from_pretrained(tmp_path / "dense")
    batch, location = batch_for(model), location_of(model)
    rest = [None] * (len(layers_of(model, location)) - 1)
    assert check_replaceable(model, location, [0], batch) == 16
    fast = converted_copy(model, ["2x2x3", *rest])
    expected = fast(**batch).last_hidden_state
    assert not torch.equal(expected, model(**batch).last_hidden_state)
    fast.save_pretrained(tmp_path / "fast")
    loaded = AutoModel.from_pretrained(tmp_path / "fast")
    assert type(loaded) is type(fast)
    assert torch.equal(loaded(**batch).last_hidden_state, expected)


@pytest.mark.parametrize(
    ("model_type", "norm"),
    [
        ("bert", "output.LayerNorm"),
        ("mpnet", "output.LayerNorm"),
        ("distilbert", "output_layer_norm"),
        ("albert", "full_layer_layer_norm"),
        ("xlm", "layer_norm2"),
        ("deberta", None),
        ("gpt2", None),
        ("vit", None),
        ("modernbert", None),
    ],
)
def test_the_norm_after_a_layer_is_found(model_type, norm):
    model = tiny_model(model_type)
    location = location_of(model)
    strengthen(model, location)
    layer_ids = range(len(layers_of(model, location)))
    batch = batch_for(model)
    size = check_replaceable(model, location, layer_ids, batch)
    found = norms_after(model, location, layer_ids, size, batch)
    for layer_id in layer_ids:
        if norm is None:
            assert found[layer_id] is None
        else:
            beside = model_type == "xlm"  # norms in a list of their own
            where = model.layer_norm2 if beside else layers_of(model, location)
            expected = where[layer_id] if beside else where[layer_id].get_submodule(norm)
            assert torch.equal(found[layer_id].weight, expected.weight)


@pytest.mark.parametrize(
    ("text", "modules"),
    [
        ("encoder.layer.*.intermediate,output.dense", ("intermediate", "output.dense")),
        ("encoder.layer.*.fc1, act , encoder.layer.*.fc2", ("fc1", "act", "fc2")),
        ("encoder.layer.*", ("",)),
    ],
)
def test_a_location_is_read_from_text(text, modules):
    location = FeedForwardLocation.parse(text)
    assert location == FeedForwardLocation("encoder.layer", modules)
    assert FeedForwardLocation.parse(str(location)) == location


@pytest.mark.parametrize(
    "text", ["", "mlp", "layers.0.mlp", "*.mlp", "a.*.b.*.c", "a.*.b,", "a.*b"]
)
def test_other_texts_are_no_location(text):
    with pytest.raises(ValueError, match=r"ff_location='.*' must name modules of .* with one \*"):
        FeedForwardLocation.parse(text)


def test_a_named_location_may_be_seen_from_the_head():
    model = tiny_model("bert", AutoModelForMaskedLM)
    named = location_of(model, "bert.encoder.layer.*.intermediate,output.dense")
    assert named == location_of(model) == location_of(model.base_model)


def forget_converted_models():
    """Leave no more of converted models than there is in a new process."""
    converted.config_class.cache_clear()
    converted.converted_class.cache_clear()
    register_converted(CONFIG_MAPPING)


def test_models_of_unknown_kinds_load_in_another_process(tmp_path):
    model = tiny_model("bart")
    with pytest.raises(ValueError, match=r"lists of modules are encoder.layers, decoder.layers"):
        converted_copy(model, ["1x2x3", None])
    batch = batch_for(model)
    fast = converted_copy(model, ["1x2x3", None], location_of(model, BART))
    fast.save_pretrained(tmp_path)
    forget_converted_models()
    assert type(AutoConfig.from_pretrained(tmp_path)).__name__ == "ConvertedBartConfig"
    loaded = AutoModel.from_pretrained(tmp_path)
    assert type(loaded) is not type(fast)
    assert type(loaded).__name__ == "ConvertedBartModel"
    assert torch.equal(loaded(**batch).last_hidden_state, fast(**batch).last_hidden_state)


def test_models_saved_without_the_location_of_their_layers_load(tmp_path):
    fast = converted_copy(tiny_model("bert"), ["1x2x3", None])
    fast.save_pretrained(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    assert config.pop("ffn_block") == "encoder.layer.*.intermediate,output.dense"
    (tmp_path / "config.json").write_text(json.dumps(config))
    loaded, batch = AutoModel.from_pretrained(tmp_path), batch_for(fast)
    assert torch.equal(loaded(**batch).last_hidden_state, fast(**batch).last_hidden_state)


def test_a_tokenizer_is_that_of_the_original(tmp_path):
    converted_copy(tiny_model("mpnet"), ["1x2x3", None]).save_pretrained(tmp_path)
    words = ["[PAD]", "[UNK]", "<s>", "</s>", "<pad>", "<mask>", "tree"]
    (tmp_path / "vocab.txt").write_text("\n".join(words))
    assert type(AutoTokenizer.from_pretrained(tmp_path)).__name__ == "MPNetTokenizer"


def test_what_layers_do_is_seen_without_padding():
    model = tiny_model("bert")
    batch, location = batch_for(model), location_of(model)
    found = run_hooked(model, location, [1], batch)[1]
    layer = layers_of(model, location)[1]
    assert found.x.shape == (5 + 8, 16)
    expected = layer.output.dense(layer.intermediate(found.x.float()))
    torch.testing.assert_close(found.y.float(), expected, atol=0.02, rtol=0.02)
    layers = run_hooked(tiny_model("albert"), location_of(tiny_model("albert")), [0], batch)
    assert len(layers[0].x) == 2 * (5 + 8)  # both layers, which share the FF layer
    longformer = tiny_model("longformer")  # it pads to a multiple of its window
    batch = {name: values[:, :7] for name, values in batch.items()}
    assert len(run_hooked(longformer, location_of(longformer), [0], batch)[0].x) == 5 + 7


@pytest.mark.parametrize(
    ("model_type", "auto_class"),
    [
        ("vit", AutoModelForImageClassification),
        ("gpt2", AutoModelForCausalLM),
        ("modernbert", AutoModelForMaskedLM),
    ],
)
def test_a_model_in_memory_converts(model_type, auto_class, tmp_path):
    model = tiny_model(model_type, auto_class)
    strengthen(model, location_of(model))
    said = []
    fast, rows = convert_model(
        model,
        (batch_for(model, n) for n in (8, 16, 16, 16)),
        "1x2x3",
        layers=[1],
        training=FEW_STEPS,
        on_status=lambda *said_: said.append(said_[:3]),
    )
    assert ("running the model (batches)", 4, None) in said
    assert ("layer 1: 1x2x3", 150, 150) in said
    assert [(row.layer, row.n_active) for row in rows] == [(1, 5)]
    assert 0 < rows[0].fvu < 0.9
    assert convert_layer_table(rows).count("\n| ") == 3
    fast.save_pretrained(tmp_path)
    assert ("**Vocabulary:**" in (tmp_path / "README.md").read_text()) == (model_type != "vit")
    loaded, batch = auto_class.from_pretrained(tmp_path), batch_for(model)
    assert loaded.config.ffn == [None, "1x2x3"]
    assert torch.equal(loaded(**batch).logits, fast(**batch).logits)


class Plain(nn.Module):
    """A model that is not one of transformers."""

    def __init__(self, *layers):
        super().__init__()
        self.blocks = nn.Sequential(*layers)

    def forward(self, x):
        return self.blocks(x)


class Layer(nn.Module):
    """Pre-norm FF layer."""

    def __init__(self, size, mlp=None):
        super().__init__()
        self.norm = nn.LayerNorm(size)
        self.mlp = mlp or nn.Sequential(nn.Linear(size, 32), nn.GELU(), nn.Linear(32, size))

    def forward(self, x):
        return x + self.mlp(self.norm(x))


def test_dense_controls_in_memory_are_trained_at_their_own_rate(monkeypatch):
    used = []
    monkeypatch.setattr(in_memory, "regress", lambda *_: used.append(_[2]))
    model = tiny_model("vit")
    for ffn in ("1x2x3", "ff:4"):
        convert_model(model, [batch_for(model)] * 2, ffn, layers=[0])
    assert used == [RegressionConfig(), RegressionConfig(learning_rate=1.6e-2)]


def test_a_plain_module_converts():
    torch.manual_seed(0)
    model, batches = Plain(Layer(8), Layer(8)), torch.randn(5, 3, 20, 8)
    named = {"ff_location": "blocks.*.mlp", "training": FEW_STEPS}
    fast, rows = convert_model(model, batches, "1x2x3", **named)
    before, after = ((m(batches[0]) - batches[0]).flatten() for m in (model, fast))
    assert torch.corrcoef(torch.stack([before, after]))[0, 1] > 0.6
    assert isinstance(model.blocks[0].mlp, nn.Sequential)
    assert [row.model for row in rows] == ["fff", "fff"]
    _, rows = convert_model(model, batches, "none", **named)
    assert rows[0].model == "none"


def refused(match, model, batch=None, **options):
    batches = [batch_for(model) if batch is None else batch] * 2
    with pytest.raises(ValueError, match=match):
        convert_model(model, batches, "1x2x3", training=FEW_STEPS, **options)


class Experts(nn.Module):
    """A mixture of experts that returns its router's logits as well."""

    def forward(self, x):
        return x, x


def test_models_that_do_not_convert_say_why():
    x = torch.randn(2, 3, 8)
    refused("its feedforward layers are in no known place.*without lists", nn.Linear(8, 8), x)
    refused("are encoder.layers", tiny_model("squeezebert"))
    refused("'a.*.b' is nowhere in BertModel", tiny_model("bert"), ff_location="a.*.b")
    refused("'encoder.*.b' is nowhere", tiny_model("bert"), ff_location="encoder.*.b")
    refused("layer 2 is not there: .* layers 0 to 1", tiny_model("bert"), layers=[2])
    refused("layers is empty", tiny_model("bert"), layers=[])
    named = {"ff_location": "blocks.*.mlp"}
    refused(
        "no function of one tensor.*mixtures of experts", Plain(Layer(8, Experts())), x, **named
    )
    refused("no function of one tensor.*residual inside", tiny_model("bloom"))
    whole = "encoder.layer.*.intermediate,output"
    refused("no function of one tensor.*residual inside", tiny_model("bert"), ff_location=whole)
    idle = Plain(Layer(8))
    idle.blocks[0].spare = nn.Linear(8, 8)
    refused("spare of layer 0 is not run as a whole", idle, x, ff_location="blocks.*.spare")
    mixed = Plain(Layer(8), nn.Linear(8, 8), Layer(8))
    refused("layer 1 has no feedforward layer at blocks.*.mlp; choose .*: 0, 2", mixed, x, **named)
    shrinking = Plain(Layer(8), nn.Linear(8, 4), Layer(4))
    refused("8 in layer 0, 4 in layer 2", shrinking, x, layers=[0, 2], **named)
    refused("hidden_size=512, but .* vectors of 128 in layer 0", mobilebert())
    fast, _ = convert_model(
        tiny_model("bert"), [batch_for(tiny_model("bert"))] * 2, "1x2", training=FEW_STEPS
    )
    refused("'ultrafastbert-bert': only dense models", fast)
    with pytest.raises(ValueError, match="batches are fewer than two"):
        convert_model(tiny_model("bert"), [batch_for(tiny_model("bert"))])
    with pytest.raises(ValueError, match="ffn '7' is unknown"):
        convert_model(tiny_model("bert"), [batch_for(tiny_model("bert"))] * 2, "7")


def mobilebert():
    config = transformers.MobileBertConfig(num_hidden_layers=1, vocab_size=250)
    return AutoModel.from_config(config).eval()


def saved(model, tokenizer, folder):
    model.save_pretrained(folder)
    if tokenizer is not None:
        tokenizer.save_pretrained(folder)
    return folder


def test_an_encoder_saved_under_the_name_of_a_head_is_an_encoder(tmp_path):
    tiny_model("mpnet").save_pretrained(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(
        json.dumps(config | {"architectures": ["MPNetForMaskedLM"]})
    )
    assert type(load_dense(tmp_path)).__name__ == "MPNetModel"


FAST = ["--ffn", "1x2x3", "--tokens", "1000", "--steps", "5", "--sequential-steps", "2"]
FAST += ["--end-to-end-steps", "1", "--end-to-end-tokens", "1000", "--no-controls"]


@pytest.mark.slow
def test_the_command_converts_a_model_of_an_unknown_kind(run, tokenizer, text_file, tmp_path):
    tokenizer = AutoTokenizer.from_pretrained(saved(tiny_model("opt"), tokenizer, tmp_path / "opt"))
    tokenizer.pad_token, tokenizer.eos_token = None, "[SEP]"
    tokenizer.save_pretrained(tmp_path / "opt")
    command = ["convert", tmp_path / "opt", tmp_path / "out", "--text", text_file, *FAST]
    code, _, error = run(*command)
    assert code == 2
    assert "its feedforward layers are in no known place; name their modules" in error
    code, out, error = run(*command, "--ff-location", "decoder.layers.*.fc1,activation_fn,fc2")
    assert not code, error
    assert out.startswith("**opt, 1x2x3, 5 ")
    assert f"| {columns_of(ConvertLayerRow)['fvu'].title} |" in out
    loaded = AutoModel.from_pretrained(tmp_path / "out")
    assert loaded.config.ffn_block == "decoder.layers.*.fc1,activation_fn,fc2"
    assert loaded(**batch_for(loaded)).last_hidden_state.isfinite().all()


def test_the_command_refuses_in_one_line(run, tokenizer, text_file, tmp_path):
    bert = saved(tiny_model("bert"), tokenizer, tmp_path / "bert")
    vit = saved(tiny_model("vit"), None, tmp_path / "vit")
    bart = saved(tiny_model("bart"), tokenizer, tmp_path / "bart")
    no_mask = AutoTokenizer.from_pretrained(bert, model_input_names=["input_ids"])
    no_mask = saved(tiny_model("bert"), no_mask, tmp_path / "no_mask")
    roberta = saved(tiny_model("roberta"), tokenizer, tmp_path / "roberta")
    out = tmp_path / "out"
    where = "--ff-location"
    for folder, options, message in [
        (roberta, ["--max-length", "512"], "max_length=512 must be at most 511, the positions"),
        (bart, [where, BART], "BartModel cannot be converted from a folder: it returns 0 hid"),
        (no_mask, [], "its tokenizer gives no attention_mask; in Python, convert_model takes"),
        (bert, [where, "layers.mlp"], "ff_location='layers.mlp' must name modules of a layer"),
        (bert, [where, "layers.*.mlp"], "is nowhere in BertModel"),
        (bert, ["--max-length", "1000"], "max_length=1000 must be at most 512"),
        (vit, [], "only models of text are converted from a folder"),
    ]:
        code, _, error = run("convert", folder, out, "--text", text_file, *FAST, *options)
        assert code == 2
        assert message in error
        assert error.splitlines()[-1].startswith("error: ")
        assert not out.exists()
    code, _, error = run("convert", bert, out, "--text", text_file, *FAST, "--tokens", "1000000")
    assert code == 2
    wanted = "but 1,000,000 are wanted; give more text, or at most 3 % of the tokens"
    assert wanted in error
