"""The models: outputs, padding, heads, loss, saving and the Auto classes."""

import pytest
import torch
from tiny_models import FFN, NO_DROPOUT, ROTARY, batch, build, tiny
from transformers import (
    AutoModel,
    AutoModelForMaskedLM,
    AutoModelForSequenceClassification,
)

import ultrafastbert
from ultrafastbert import (
    UltraFastBertConfig,
    UltraFastBertForMaskedLM,
    UltraFastBertForSequenceClassification,
    UltraFastBertModel,
)


@pytest.mark.parametrize("ffn_type", FFN)
@pytest.mark.parametrize("attention", ["sdpa", "eager"])
@pytest.mark.parametrize("positions", ["scaled_sinusoidal", "rotary"])
def test_padding_changes_nothing(ffn_type, attention, positions):
    model = build(UltraFastBertModel, ffn_type, position_embedding_type=positions)
    model.set_attn_implementation(attention)
    ids, mask = batch()
    padded = model(ids, mask).last_hidden_state
    for row, length in enumerate(mask.sum(1)):
        alone = model(ids[row : row + 1, :length]).last_hidden_state
        torch.testing.assert_close(padded[row, :length], alone[0], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("ffn_type", FFN)
@pytest.mark.parametrize("auto", [AutoModel, AutoModelForMaskedLM])
def test_round_trip_through_the_auto_classes(tmp_path, ffn_type, auto):
    model = build(UltraFastBertForMaskedLM, ffn_type)
    model.save_pretrained(tmp_path)
    loaded = auto.from_pretrained(tmp_path).eval()
    ids, mask = batch()
    expected = (
        model(ids, mask).logits if auto is AutoModelForMaskedLM else model.model(ids, mask)[0]
    )
    assert torch.equal(loaded(ids, mask)[0], expected)
    assert loaded.config.ffn_type == ffn_type


def test_encoder_moves_from_pretraining_to_classification(tmp_path):
    model = build(UltraFastBertForMaskedLM)
    model.save_pretrained(tmp_path)
    classifier = AutoModelForSequenceClassification.from_pretrained(tmp_path, num_labels=3)
    for name, tensor in model.model.state_dict().items():
        assert torch.equal(tensor, classifier.model.state_dict()[name]), name
    assert classifier(*batch()).logits.shape == (3, 3)


def test_rotary_positions_are_relative(tmp_path):
    model = build(UltraFastBertModel, position_embedding_type="rotary")
    ids, mask = batch()
    expected = model(ids, mask).last_hidden_state
    positions = torch.arange(10).expand(3, 10)
    torch.testing.assert_close(model(ids, mask, positions + 100).last_hidden_state, expected)
    assert not torch.allclose(model(ids, mask, positions * 2).last_hidden_state, expected)
    model.save_pretrained(tmp_path)
    loaded = AutoModel.from_pretrained(tmp_path).eval()
    assert torch.equal(loaded(ids, mask).last_hidden_state, expected)


def test_decoder_is_tied():
    model = build(UltraFastBertForMaskedLM)
    assert model.decoder.weight is model.model.embeddings.word_embeddings.weight


def test_sparse_prediction_in_training_gives_the_dense_loss():
    ids, mask = batch()
    labels = torch.where(torch.rand(ids.shape) < 0.3, ids, -100)
    sparse = build(UltraFastBertForMaskedLM, **NO_DROPOUT)
    dense = build(UltraFastBertForMaskedLM, sparse_prediction=False, **NO_DROPOUT)
    evaluated = sparse(ids, mask, labels=labels)
    a, b = (model.train()(ids, mask, labels=labels) for model in (sparse, dense))
    torch.testing.assert_close(a.loss, b.loss)
    torch.testing.assert_close(evaluated.loss, b.loss)
    assert a.logits.shape == ((labels != -100).sum(), 61)
    assert b.logits.shape == evaluated.logits.shape == (3, 10, 61)
    torch.testing.assert_close(a.logits, evaluated.logits[labels != -100])


def test_loss_over_accumulated_batches_is_the_mean_over_all_labels():
    ids, mask = batch()
    model = build(UltraFastBertForMaskedLM)
    labels = torch.where(torch.rand(ids.shape) < 0.3, ids, -100)
    count = (labels != -100).sum()
    parts = [
        model(ids[i : i + 1], mask[i : i + 1], labels=labels[i : i + 1], num_items_in_batch=count)
        for i in range(3)
    ]
    whole = model(ids, mask, labels=labels).loss
    torch.testing.assert_close(sum(part.loss for part in parts), whole)


@pytest.mark.parametrize(
    ("num_labels", "labels"),
    [(1, torch.tensor([0.5, 2.0, 5.0])), (3, torch.tensor([0, 2, 1]))],
)
@pytest.mark.parametrize("pooling", ["mean", "cls"])
def test_classification_and_regression(num_labels, labels, pooling):
    model = build(
        UltraFastBertForSequenceClassification, num_labels=num_labels, classifier_pooling=pooling
    )
    out = model(*batch(), labels=labels)
    assert out.logits.shape == (3, num_labels)
    expected = (
        torch.nn.functional.mse_loss(out.logits.squeeze(-1), labels)
        if num_labels == 1
        else torch.nn.functional.cross_entropy(out.logits, labels)
    )
    torch.testing.assert_close(out.loss, expected)


def test_standard_outputs():
    model = build(UltraFastBertForMaskedLM)
    model.set_attn_implementation("eager")
    ids, mask = batch()
    out = model(ids, mask, output_hidden_states=True, output_attentions=True)
    assert len(out.hidden_states) == 3
    assert [a.shape for a in out.attentions] == [(3, 4, 10, 10)] * 2
    assert isinstance(model(ids, mask, return_dict=False), tuple)
    embeds = model.get_input_embeddings()(ids)
    torch.testing.assert_close(model(inputs_embeds=embeds, attention_mask=mask).logits, out.logits)


def test_gradient_checkpointing_gives_the_same_gradients():
    ids, mask = batch()
    grads = []
    for checkpointing in (False, True):
        model = build(UltraFastBertForMaskedLM, hidden_dropout_prob=0.0).train()
        model.config.attention_probs_dropout_prob = 0.0
        if checkpointing:
            model.activation_checkpointing_enable()
        model(ids, mask, labels=ids).loss.backward()
        grads.append(model.model.layers[0].ffn.w_in.grad)
    torch.testing.assert_close(*grads)


@pytest.mark.parametrize("kernel", ["gather", "masked"])
def test_all_kernels_give_the_same_model(kernel):
    model = build(UltraFastBertForMaskedLM)
    ids, mask = batch()
    expected = model(ids, mask).logits
    with ultrafastbert.use_kernel(kernel):
        torch.testing.assert_close(model(ids, mask).logits, expected, rtol=1e-4, atol=1e-5)


def test_published_size():
    with torch.device("meta"):
        model = UltraFastBertForMaskedLM(UltraFastBertConfig())
    # 32768 * 768 embedding, 1 scale, 16 layers, norms: section 2 of arXiv 2311.10770's checkpoint.
    assert model.num_parameters() == 163_671_025
    assert (model.config.n_active, model.config.n_neurons) == (12, 4095)


def test_a_mask_may_be_given_for_each_query():
    model = build(UltraFastBertModel)
    ids, mask = batch()
    rows = mask[:, None, :].expand(3, 10, 10)
    for kind in (torch.int64, torch.bool, torch.float32):
        a = model(ids, mask.to(kind)).last_hidden_state
        b = model(ids, rows.to(kind)).last_hidden_state
        assert torch.equal(a, b)
    diagonal = torch.eye(10).expand(3, 10, 10)  # every token sees itself alone
    assert not torch.allclose(model(ids, diagonal).last_hidden_state, a)
    with pytest.raises(ValueError, match=r"attention_mask has shape \(3,\)"):
        model(ids, mask[:, 0])


@pytest.mark.parametrize("attention", ["sdpa", "eager"])
def test_a_row_without_tokens_attends_to_all(attention):
    model = build(UltraFastBertModel)
    model.set_attn_implementation(attention)
    ids, _ = batch()
    nothing = model(ids, torch.zeros(3, 10)).last_hidden_state
    torch.testing.assert_close(nothing, model(ids).last_hidden_state, rtol=1e-2, atol=1e-2)


@pytest.mark.parametrize("ffn_type", FFN)
def test_biases_and_head_transform(ffn_type):
    options = {"qkv_bias": True, "use_bias": True, "decoder_bias": True, "head_transform": True}
    plain, biased = (
        build(UltraFastBertForMaskedLM, ffn_type),
        build(UltraFastBertForMaskedLM, ffn_type, **options),
    )
    new = set(dict(biased.named_parameters())) - set(dict(plain.named_parameters()))
    layer = {"attention.qkv.bias", "attention.dense.bias"}
    if ffn_type in ("ff", "glu"):
        layer |= {"ffn.dense_in.bias", "ffn.dense_out.bias"}
    head = {"dense.weight", "dense.bias", "norm.weight", "norm.bias"}
    expected = {f"model.layers.{i}.{name}" for i in range(2) for name in layer}
    assert new == expected | {f"transform.{name}" for name in head} | {"decoder.bias"}
    ids, mask = batch()
    biased(ids, mask, labels=ids).loss.backward()
    assert all(p.grad is not None for p in biased.parameters())


@pytest.mark.parametrize("how", ["avg", "max", "lse"])
def test_pooling_with_padding_included(how):
    model = build(UltraFastBertForSequenceClassification, classifier_pooling=how)
    ids, mask = batch()
    states = model.model(ids, mask).last_hidden_state
    pooled = {
        "avg": states.mean(1),
        "max": states.max(1).values,
        "lse": states.exp().sum(1).log(),
    }[how]
    expected = model.classifier(torch.tanh(model.pooler(pooled)))
    torch.testing.assert_close(model(ids, mask).logits, expected)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"tree_depth": -1}, "depth=-1"),
        ({"ffn_type": "moe"}, "ffn_type='moe'"),
        ({"num_attention_heads": 5}, "multiple of"),
        ({"hidden_act": "swish"}, "activation='swish'"),
        ({"classifier_pooling": "middle"}, "classifier_pooling='middle'"),
        ({"vocab_size": 0}, "vocab_size=0"),
        ({"position_embedding_type": "learned"}, "position_embedding_type='learned'"),
        ({"hidden_size": 9, "num_attention_heads": 3, **ROTARY}, "= 3 must be even"),
        ({"num_hidden_layers": -1}, "num_hidden_layers=-1"),
    ],
)
def test_config_names_what_is_wrong(options, message):
    with pytest.raises(ValueError, match=message):
        UltraFastBertConfig(**options)


def test_sizes_beyond_memory_are_refused():
    with pytest.raises(ValueError, match="GiB"):
        UltraFastBertForMaskedLM(tiny(tree_depth=30))


def test_inputs_that_do_not_fit():
    model = build(UltraFastBertModel)
    with pytest.raises(ValueError, match="max_position_embeddings=16"):
        model(torch.ones(1, 17, dtype=torch.int64))
    with pytest.raises(ValueError, match="exactly one"):
        model()


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_whole_model_compiles_and_exports():
    model = build(UltraFastBertForMaskedLM)
    ids, mask = batch()
    expected = model(ids, mask).logits
    compiled = torch.compile(model, fullgraph=True, backend="aot_eager")
    torch.testing.assert_close(compiled(ids, mask).logits, expected)
    program = torch.export.export(model, (ids, mask))
    torch.testing.assert_close(program.module()(ids, mask).logits, expected)
