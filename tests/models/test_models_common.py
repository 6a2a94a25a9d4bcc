"""What transformers expects of every model class: its outputs, attention and training."""

import inspect

import pytest
import torch
from tiny_models import (
    FFN,
    NO_DROPOUT,
    build,
    every_class,
    every_head,
    inputs,
    labels,
    same,
    tiny,
    with_and_without_biases,
)

from ultrafastbert import (
    UltraFastBertForMultipleChoice,
    UltraFastBertForSentenceEmbedding,
    UltraFastBertModel,
)


def gradients(model_class, prepare=lambda model: model, **options):
    model = build(model_class, **NO_DROPOUT, **options).train()
    prepare(model)
    model(**inputs(model_class), **labels(model_class)).loss.backward()
    return {name: weight.grad for name, weight in model.named_parameters()}


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


def test_input_of_other_dimensions():
    model = build(UltraFastBertModel)
    with pytest.raises(ValueError, match=r"shape \(4,\); input_ids must be \(batch, tokens\)"):
        model(torch.ones(4, dtype=torch.int64))
    with pytest.raises(ValueError, match=r"shape \(4, 32\).*inputs_embeds"):
        model(inputs_embeds=torch.ones(4, 32))


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
@with_and_without_biases
def test_training_reaches_every_weight(model_class, ffn_type, biases):
    for name, grad in gradients(model_class, ffn_type=ffn_type, **biases).items():
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


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_compiled_head():
    model = build(UltraFastBertForMultipleChoice, num_hidden_layers=1, classifier_pooling="cls")
    given = inputs(UltraFastBertForMultipleChoice)
    compiled = torch.compile(model, fullgraph=True, backend="aot_eager")
    torch.testing.assert_close(compiled(**given).logits, model(**given).logits)
