"""What transformers expects of every model class: configuration, weights drawn and loaded."""

import copy
import json

import pytest
import torch
from accelerate import init_empty_weights
from safetensors import safe_open
from tiny_models import (
    BIASES,
    FFN,
    HEADS,
    build,
    every_class,
    every_head,
    inputs,
    same,
    tiny,
    with_and_without_biases,
)
from transformers import (
    AutoConfig,
    AutoModel,
    AutoModelForMaskedLM,
)

from ultrafastbert import (
    UltraFastBertConfig,
    UltraFastBertForMaskedLM,
    UltraFastBertForMultipleChoice,
    UltraFastBertForQuestionAnswering,
    UltraFastBertModel,
)
from ultrafastbert.models.bert.embeddings import sinusoids


def test_config_round_trip(tmp_path):
    config = tiny(
        num_labels=3, problem_type="single_label_classification", normalize_embeddings=True
    )
    config.save_pretrained(tmp_path)
    for loaded in [
        UltraFastBertConfig.from_pretrained(tmp_path),
        AutoConfig.from_pretrained(tmp_path),
        UltraFastBertConfig.from_json_file(tmp_path / "config.json"),
        UltraFastBertConfig.from_dict(json.loads(config.to_json_string(use_diff=False))),
        copy.deepcopy(config),
    ]:
        ours = {"_name_or_path", "transformers_version"}
        assert {k: v for k, v in loaded.to_dict().items() if k not in ours} == {
            k: v for k, v in config.to_dict().items() if k not in ours
        }


def test_config_keeps_what_it_does_not_know():
    config = UltraFastBertConfig.from_dict({"hidden_size": 24, "finetuning_task": "cola"})
    assert (config.hidden_size, config.finetuning_task) == (24, "cola")


def test_config_counts_labels():
    config = UltraFastBertConfig(num_labels=3)
    assert (len(config.id2label), len(config.label2id)) == (3, 3)
    config.num_labels = 5
    assert (len(config.id2label), len(config.label2id)) == (5, 5)
    assert UltraFastBertConfig(id2label={0: "O", 1: "B"}).num_labels == 2


def test_config_has_the_common_fields():
    config = UltraFastBertConfig(
        output_hidden_states=True, return_dict=False, id2label={0: "a"}, problem_type="regression"
    )
    assert (config.output_hidden_states, config.return_dict) == (True, False)
    for name in ("hidden_size", "num_attention_heads", "num_hidden_layers", "vocab_size"):
        setattr(config, name, 8)
        assert getattr(config, name) == 8


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"classifier_pooling": "sum"}, "classifier_pooling='sum'"),
        ({"sentence_pooling": "sum"}, "sentence_pooling='sum'"),
        ({"max_position_embeddings": 0}, "max_position_embeddings=0"),
    ],
)
def test_fields_overridden_on_load_are_checked(tmp_path, options, message):
    build(UltraFastBertModel).save_pretrained(tmp_path)
    with pytest.raises(ValueError, match=message):
        AutoModel.from_pretrained(tmp_path, **options)


@every_class
@pytest.mark.parametrize("ffn_type", FFN)
@with_and_without_biases
def test_initialization(model_class, ffn_type, biases):
    model = build(model_class, ffn_type, initializer_range=1e-8, **biases)
    for name, weight in model.named_parameters():
        constant = 32**-0.5 if "position_scale" in name else float("norm.weight" in name)
        torch.testing.assert_close(weight, torch.full_like(weight, constant), atol=1e-6, rtol=0)


@every_class
def test_everything_is_initialized_after_meta_tensors(model_class):
    model = model_class.from_pretrained(None, config=tiny(initializer_range=1e-8), state_dict={})
    for name, weight in model.named_parameters():
        constant = 32**-0.5 if "position_scale" in name else float("norm.weight" in name)
        torch.testing.assert_close(weight, torch.full_like(weight, constant), atol=1e-6, rtol=0)
    table = next(tensor for name, tensor in model.named_buffers() if "sinusoids" in name)
    assert torch.equal(table, sinusoids(*table.shape))


@every_head
def test_head_on_an_encoder_is_reported_and_drawn_by_the_seed(tmp_path, model_class):
    build(UltraFastBertModel).save_pretrained(tmp_path)
    drawn = []
    for _ in range(2):
        torch.manual_seed(3)
        model, info = HEADS[model_class].from_pretrained(tmp_path, output_loading_info=True)
        assert type(model) is model_class
        assert not info["unexpected_keys"]
        assert not any(name.startswith("model.") for name in info["missing_keys"])
        drawn.append(model.state_dict())
    same(*drawn, rtol=0, atol=0)


def test_empty_weights():
    with init_empty_weights(include_buffers=True):
        model = UltraFastBertForMaskedLM(tiny())
    assert {tensor.device.type for tensor in model.state_dict().values()} == {"meta"}


@every_class
@pytest.mark.parametrize("options", [{}, {"max_shard_size": "4KB"}], ids=["whole", "shards"])
@pytest.mark.parametrize("device_map", [None, "cpu"])
@with_and_without_biases
def test_save_and_load(tmp_path, model_class, options, device_map, biases):
    model = build(model_class, **biases)
    model.save_pretrained(tmp_path, **options)
    assert (tmp_path / "model.safetensors.index.json").exists() == bool(options)
    loaded, info = model_class.from_pretrained(
        tmp_path, device_map=device_map, output_loading_info=True
    )
    assert not any(info.values())
    given = inputs(model_class)
    same(loaded.eval()(**given), model(**given))


@every_class
def test_saved_names_are_the_weights_once(tmp_path, model_class):
    model = build(model_class, **BIASES)
    model.save_pretrained(tmp_path)
    with safe_open(tmp_path / "model.safetensors", "pt") as file:
        saved = set(file.keys())
    assert saved == {name for name, _ in model.named_parameters()}  # tied ones are named once


def test_pickles_are_refused_unless_asked_for(tmp_path):
    model = build(UltraFastBertForMaskedLM)
    model.save_pretrained(tmp_path)
    (tmp_path / "model.safetensors").unlink()
    torch.save(model.state_dict(), tmp_path / "pytorch_model.bin")
    for load in (UltraFastBertForMaskedLM, AutoModelForMaskedLM):
        with pytest.raises(OSError, match=r"model\.safetensors"):
            load.from_pretrained(tmp_path)
    given = inputs(UltraFastBertForMaskedLM)
    loaded = AutoModelForMaskedLM.from_pretrained(tmp_path, use_safetensors=False).eval()
    same(loaded(**given), model(**given))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64])
def test_dtypes(tmp_path, dtype):
    model = build(UltraFastBertForMaskedLM)
    expected = model(**inputs(UltraFastBertForMaskedLM)).logits
    model.save_pretrained(tmp_path / "float32")
    narrow = AutoModelForMaskedLM.from_pretrained(tmp_path / "float32", dtype=dtype)
    narrow.save_pretrained(tmp_path / "narrow")
    again = AutoModelForMaskedLM.from_pretrained(tmp_path / "narrow", dtype="auto")
    for other in [narrow, again, model.to(dtype)]:
        assert {weight.dtype for weight in other.parameters()} == {dtype}
        logits = other.eval()(**inputs(UltraFastBertForMaskedLM)).logits
        assert logits.dtype == dtype
        torch.testing.assert_close(logits.float(), expected, rtol=0.05, atol=0.01)


@every_head
def test_sizes_that_do_not_fit(tmp_path, model_class):
    build(model_class).save_pretrained(tmp_path)
    if model_class in (UltraFastBertForQuestionAnswering, UltraFastBertForMultipleChoice):
        options = {"vocab_size": 33}
    else:
        options = {"vocab_size": 33, "num_labels": 7}
    with pytest.raises(ValueError, match=r"do not fit its config\.json: .* is \(.* instead of"):
        model_class.from_pretrained(tmp_path, **options)
    model, info = model_class.from_pretrained(
        tmp_path, ignore_mismatched_sizes=True, output_loading_info=True, **options
    )
    assert "model.embeddings.word_embeddings.weight" in {key for key, *_ in info["mismatched_keys"]}
    assert model.get_input_embeddings().weight.shape == (33, 32)
    given = inputs(model_class)
    outputs = model(given["input_ids"] % 33, given["attention_mask"])
    assert all(tensor.isfinite().all() for tensor in outputs.values())


@pytest.mark.parametrize("weight_dtype", ["bfloat16", "int8"])
@pytest.mark.parametrize("load", [UltraFastBertForMaskedLM, AutoModelForMaskedLM])
def test_smaller_weights_beside_other_fields(tmp_path, weight_dtype, load):
    build(UltraFastBertForMaskedLM).save_pretrained(tmp_path)
    options = {"weight_dtype": weight_dtype, "max_position_embeddings": 64}
    model = load.from_pretrained(tmp_path, **options)
    assert {name: getattr(model.config, name) for name in options} == options
    with torch.no_grad():
        logits = model(torch.ones(1, 60, dtype=torch.int64)).logits
    assert logits.shape == (1, 60, 61)


@pytest.mark.parametrize("load", [UltraFastBertForMaskedLM, AutoModelForMaskedLM])
@pytest.mark.parametrize("positions", ["scaled_sinusoidal", "rotary"])
def test_longer_input_by_configuration(tmp_path, load, positions):
    model = build(UltraFastBertForMaskedLM, position_embedding_type=positions)
    model.save_pretrained(tmp_path / "short")
    loaded = load.from_pretrained(tmp_path / "short", max_position_embeddings=64).eval()
    given = inputs(UltraFastBertForMaskedLM)
    same(loaded(**given), model(**given), rtol=0, atol=0)
    long = torch.arange(64).unsqueeze(0) % 61
    expected = loaded(long).logits
    assert expected.isfinite().all()
    loaded.save_pretrained(tmp_path / "long")
    again = load.from_pretrained(tmp_path / "long").eval()
    assert again.config.max_position_embeddings == 64
    assert torch.equal(again(long).logits, expected)


def test_input_that_is_too_long_is_told_both_ways_out():
    model = build(UltraFastBertModel)
    with pytest.raises(ValueError, match=r"17 tokens.*max_length=16.*max_position_embeddings=17"):
        model(torch.ones(1, 17, dtype=torch.int64))
