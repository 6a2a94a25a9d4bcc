"""What transformers expects of every model class, for what applies to encoders."""

import copy
import inspect
import json

import pytest
import torch
from accelerate import init_empty_weights
from safetensors import safe_open
from tiny_models import FFN, batch, build, tiny
from transformers import (
    AutoConfig,
    AutoModel,
    AutoModelForMaskedLM,
    AutoModelForMultipleChoice,
    AutoModelForQuestionAnswering,
    AutoModelForSequenceClassification,
    AutoModelForTokenClassification,
)

from ultrafastbert import (
    UltraFastBertConfig,
    UltraFastBertForMaskedLM,
    UltraFastBertForMultipleChoice,
    UltraFastBertForQuestionAnswering,
    UltraFastBertForSentenceEmbedding,
    UltraFastBertForSequenceClassification,
    UltraFastBertForTokenClassification,
    UltraFastBertModel,
)
from ultrafastbert.models.modeling import sinusoids

HEADS = {
    UltraFastBertForMaskedLM: AutoModelForMaskedLM,
    UltraFastBertForSequenceClassification: AutoModelForSequenceClassification,
    UltraFastBertForTokenClassification: AutoModelForTokenClassification,
    UltraFastBertForQuestionAnswering: AutoModelForQuestionAnswering,
    UltraFastBertForMultipleChoice: AutoModelForMultipleChoice,
}
CLASSES = [UltraFastBertModel, UltraFastBertForSentenceEmbedding, *HEADS]
NO_DROPOUT = {
    "hidden_dropout_prob": 0.0,
    "attention_probs_dropout_prob": 0.0,
    "classifier_dropout": 0.0,
}

every_class = pytest.mark.parametrize("model_class", CLASSES, ids=lambda c: c.__name__[13:])
every_head = pytest.mark.parametrize("model_class", HEADS, ids=lambda c: c.__name__[13:])


def inputs(model_class):
    ids, mask = batch()
    if model_class is UltraFastBertForMultipleChoice:
        ids, mask = torch.stack([ids, ids.flip(0)]), torch.stack([mask, mask.flip(0)])
    return {"input_ids": ids, "attention_mask": mask}


def labels(model_class):
    ids, mask = batch()
    return {
        UltraFastBertForMaskedLM: {"labels": torch.where(mask == 1, ids, -100)},
        UltraFastBertForSequenceClassification: {"labels": torch.tensor([0, 1, 1])},
        UltraFastBertForTokenClassification: {"labels": torch.where(mask == 1, ids % 2, -100)},
        UltraFastBertForQuestionAnswering: {
            "start_positions": torch.tensor([1, 2, 0]),
            "end_positions": torch.tensor([4, 3, 3]),
        },
        UltraFastBertForMultipleChoice: {"labels": torch.tensor([0, 2])},
    }[model_class]


def same(a, b, **tolerance):
    """Compare all outputs of two models."""
    assert a.keys() == b.keys()
    for name in a:
        torch.testing.assert_close(a[name], b[name], **tolerance)


def gradients(model_class, prepare=lambda model: model, **options):
    model = build(model_class, **NO_DROPOUT, **options).train()
    prepare(model)
    model(**inputs(model_class), **labels(model_class)).loss.backward()
    return {name: weight.grad for name, weight in model.named_parameters()}


# Configuration.


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
        ({"classifier_pooling": "max"}, "classifier_pooling='max'"),
        ({"sentence_pooling": "max"}, "sentence_pooling='max'"),
        ({"max_position_embeddings": 0}, "max_position_embeddings=0"),
    ],
)
def test_fields_overridden_on_load_are_checked(tmp_path, options, message):
    build(UltraFastBertModel).save_pretrained(tmp_path)
    with pytest.raises(ValueError, match=message):
        AutoModel.from_pretrained(tmp_path, **options)


# Initialisation.


@every_class
@pytest.mark.parametrize("ffn_type", FFN)
def test_initialization(model_class, ffn_type):
    model = build(model_class, ffn_type, initializer_range=1e-8)
    for name, weight in model.named_parameters():
        constant = 32**-0.5 if "position_scale" in name else float("norm.weight" in name)
        torch.testing.assert_close(weight, torch.full_like(weight, constant), atol=1e-6, rtol=0)


@every_class
def test_everything_missing_is_initialized(tmp_path, model_class):
    """An encoder without layers leaves most weights to `_init_weights`, after meta tensors."""
    build(UltraFastBertModel, num_hidden_layers=0).save_pretrained(tmp_path)
    options = {"num_hidden_layers": 2, "initializer_range": 1e-8}
    model, info = model_class.from_pretrained(tmp_path, output_loading_info=True, **options)
    given = {"embeddings.word_embeddings.weight", "embeddings.norm.weight", "embeddings.norm.bias"}
    given |= {"embeddings.position_scale", "final_norm.weight", "final_norm.bias"}
    prefix = "" if model_class is UltraFastBertModel else "model."
    rest = {name for name, _ in model.named_parameters()} - {prefix + name for name in given}
    assert info["missing_keys"] == rest
    for name in rest:
        weight, constant = model.get_parameter(name), float("norm.weight" in name)
        torch.testing.assert_close(weight, torch.full_like(weight, constant), atol=1e-6, rtol=0)
    table = dict(model.named_buffers())[f"{prefix}embeddings.sinusoids"]
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


# Saving and loading.


@every_class
@pytest.mark.parametrize("options", [{}, {"max_shard_size": "4KB"}], ids=["whole", "shards"])
@pytest.mark.parametrize("device_map", [None, "cpu"])
def test_save_and_load(tmp_path, model_class, options, device_map):
    model = build(model_class)
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
    model = build(model_class)
    model.save_pretrained(tmp_path)
    with safe_open(tmp_path / "model.safetensors", "pt") as file:
        saved = set(file.keys())
    assert saved == {name for name, _ in model.named_parameters()}  # tied ones are named once


def test_no_checkpoint():
    assert UltraFastBertModel.from_pretrained(None, config=tiny(), state_dict={}) is not None


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
    with pytest.raises(RuntimeError, match="ignore_mismatched_sizes"):
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


# Embeddings.


@every_class
@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("size", [70, 50])
def test_resize_token_embeddings(tmp_path, model_class, tied, size):
    model = build(model_class, tie_word_embeddings=tied)
    given = inputs(model_class)
    given["input_ids"] = given["input_ids"] % min(size, 61)
    with torch.no_grad():
        before = model(**given)
    model.resize_token_embeddings(size, mean_resizing=False)
    assert model.config.vocab_size == model.get_input_embeddings().num_embeddings == size
    after = model(**given)
    if model_class is UltraFastBertForMaskedLM:
        assert model.decoder.out_features == after.logits.shape[-1] == size
        assert (model.decoder.weight is model.get_input_embeddings().weight) == tied
        before["logits"], known = before.logits[..., :size], after.logits[..., :61]
        torch.testing.assert_close(known, before.logits)
        model(**given, labels=given["input_ids"]).loss.backward()
    else:
        same(after, before)
    model.save_pretrained(tmp_path)
    loaded = model_class.from_pretrained(tmp_path).eval()
    assert loaded.config.vocab_size == size
    same(loaded(**given), after)


def test_resize_to_a_multiple():
    model = build(UltraFastBertForMaskedLM)
    assert model.resize_token_embeddings(61, pad_to_multiple_of=16).num_embeddings == 64
    assert model.decoder.weight.shape == (64, 32)


@every_class
def test_inputs_embeds(model_class):
    model, given = build(model_class), inputs(model_class)
    expected = model(**given)
    embeds = model.get_input_embeddings()(given.pop("input_ids"))
    same(model(inputs_embeds=embeds, **given), expected)


@every_class
def test_input_embeddings_can_be_replaced(model_class):
    model = build(model_class)
    new = torch.nn.Embedding(61, 32)
    model.set_input_embeddings(new)
    assert model.get_input_embeddings() is new
    output = model.get_output_embeddings()
    assert (output is not None) == (model_class is UltraFastBertForMaskedLM)


# Outputs.


@every_class
def test_forward_signature(model_class):
    names = list(inspect.signature(model_class.forward).parameters)
    assert names[1:5] == ["input_ids", "attention_mask", "position_ids", "inputs_embeds"]
    assert model_class.main_input_name == "input_ids"


@every_class
def test_determinism(model_class):
    model, given = build(model_class), inputs(model_class)
    same(model(**given), model(**given), rtol=0, atol=0)


@every_class
def test_batch_of_one_is_the_same(model_class):
    model, given = build(model_class), inputs(model_class)
    whole = model(**given)
    for row in range(len(given["input_ids"])):
        alone = model(**{name: tensor[row : row + 1] for name, tensor in given.items()})
        for name in whole:
            torch.testing.assert_close(alone[name][0], whole[name][row], rtol=1e-4, atol=1e-5)


@every_class
@pytest.mark.parametrize("attention", ["sdpa", "eager"])
def test_mask_of_ones_and_positions_in_order_are_the_defaults(model_class, attention):
    model, ids = build(model_class), inputs(model_class)["input_ids"]
    model.set_attn_implementation(attention)
    expected = model(ids)
    same(model(ids, torch.ones_like(ids)), expected)
    same(model(ids, position_ids=torch.arange(10).expand(ids.shape)), expected)


@every_class
@pytest.mark.parametrize("where", ["call", "config"])
def test_tuples_are_the_values(model_class, where):
    model, given = build(model_class), inputs(model_class)
    expected = model(**given, output_hidden_states=True).to_tuple()
    asked = {"return_dict": False, "output_hidden_states": True}
    if where == "config":
        for name, value in asked.items():
            setattr(model.config, name, value)
    outputs = model(**given, **(asked if where == "call" else {}))
    assert isinstance(outputs, tuple)
    assert len(outputs) == len(expected)
    torch.testing.assert_close(outputs, expected)


@every_class
@pytest.mark.parametrize("checkpointing", [False, True])
def test_hidden_states_and_attentions(model_class, checkpointing):
    model, given = build(model_class), inputs(model_class)
    model.set_attn_implementation("eager")
    if checkpointing:
        model.train().activation_checkpointing_enable()
    out = model(**given, output_hidden_states=True, output_attentions=True)
    n_rows = given["input_ids"][..., 0].numel()
    assert [state.shape for state in out.hidden_states] == [(n_rows, 10, 32)] * 3
    assert [weights.shape for weights in out.attentions] == [(n_rows, 4, 10, 10)] * 2
    padded = given["attention_mask"].reshape(n_rows, 1, 1, 10) == 0
    for weights in out.attentions:
        assert (weights.masked_select(padded) == 0).all() or checkpointing
        if not checkpointing:
            torch.testing.assert_close(weights.sum(-1), torch.ones(n_rows, 4, 10))
    if "last_hidden_state" in out:
        assert torch.equal(out.hidden_states[-1], out.last_hidden_state)


@every_class
def test_inner_outputs_retain_their_gradient(model_class):
    model = build(model_class)
    model.set_attn_implementation("eager")
    out = model(**inputs(model_class), output_hidden_states=True, output_attentions=True)
    watched = [*out.hidden_states, *out.attentions]
    for tensor in watched:
        tensor.retain_grad()
    out[0].flatten()[0].backward()
    used = watched[:-1] if model_class is UltraFastBertForSentenceEmbedding else watched
    assert all(tensor.grad is not None for tensor in used)


# Attention and training.


@every_head
def test_attention_implementations_agree(model_class):
    given = inputs(model_class)
    models = [build(model_class), build(model_class)]
    models[1].set_attn_implementation("eager")
    same(*(model(**given) for model in models), rtol=1e-4, atol=1e-5)
    eager = gradients(model_class, lambda model: model.set_attn_implementation("eager"))
    for name, grad in gradients(model_class).items():
        torch.testing.assert_close(grad, eager[name], rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("attention", ["flex_attention", "flash_attention_2"])
def test_attention_that_is_not_supported_is_refused(attention):
    with pytest.raises(ValueError, match="does not support"):
        UltraFastBertModel._from_config(tiny(), attn_implementation=attention)


@every_head
@pytest.mark.parametrize("ffn_type", FFN)
def test_training_reaches_every_weight(model_class, ffn_type):
    for name, grad in gradients(model_class, ffn_type=ffn_type).items():
        assert grad is not None, name
        assert grad.isfinite().all(), name
        # A bias that all choices share cancels out.
        assert grad.any() or model_class is UltraFastBertForMultipleChoice, name


@every_head
@pytest.mark.parametrize("reentrant", [False, True])
def test_gradient_checkpointing(model_class, reentrant):
    def checkpoint(model):
        model.activation_checkpointing_enable({"use_reentrant": reentrant})
        assert model.is_activation_checkpointing

    checkpointed = gradients(model_class, checkpoint)
    for name, grad in gradients(model_class).items():
        torch.testing.assert_close(checkpointed[name], grad)


@pytest.mark.filterwarnings("ignore")
def test_compiled_head():
    model, given = build(UltraFastBertForTokenClassification), inputs(UltraFastBertModel)
    compiled = torch.compile(model, fullgraph=True, backend="aot_eager")
    torch.testing.assert_close(compiled(**given).logits, model(**given).logits)


# Longer input.


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
