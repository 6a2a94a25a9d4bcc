"""Published checkpoints: their arithmetic, and ways of loading them."""

import pytest
import torch
from crammed_models import (
    BIASES,
    CLASSIFIER,
    ENCODER,
    MASKED_LM,
    TRANSFORM,
    Published,
    assert_near,
    batch,
    make_config,
    make_tensors,
    save,
    saved,
)
from transformers import (
    AutoConfig,
    AutoModel,
    AutoModelForMaskedLM,
    AutoModelForSequenceClassification,
    AutoModelForTokenClassification,
)

from ultrafastbert import (
    UltraFastBertConfig,
    UltraFastBertForMaskedLM,
    UltraFastBertForSequenceClassification,
    UltraFastBertModel,
)
from ultrafastbert.fff import tree
from ultrafastbert.models.io import crammed_tensors

CASES = {
    "1x3": {},
    "3x2": {"intermed_size": 3, "intermed_depth": 2},
    "1x11": {"intermed_depth": 11},
    "2x0": {"intermed_size": 2, "intermed_depth": 0},
    "biased": {**BIASES, **TRANSFORM, "intermed_size": 2},
    "dense": {"intermed_type": "ff", "intermed_size": 40},
    "gated": {"intermed_type": "ff", "intermed_size": 40, "nonlin": "GELUglu"},
    "gated and biased": {
        **{**BIASES, **TRANSFORM},
        **{"intermed_type": "ff", "intermed_size": 40, "nonlin": "GELUglu"},
    },
    "relu": {"nonlin": "ReLU"},
    "another pad": {"embedding": {"pad_token_id": 5}},
    "no pad": {"embedding": {"pad_token_id": None}},
}


def masks():
    _, mask = batch()
    queries = (torch.rand(3, 12, 12) < 0.7).float()
    queries[:, :, 0] = 1
    return [None, mask, mask.float(), queries]


def states_and_paths(model, ids, mask):
    """Return the output of embedding, layers and final norm, and nodes visited, as theirs."""
    base, states, paths = model.base_model, [], []

    def visit(layer, args, _):
        leaves = layer.visited_leaves(args[0]).flatten(0, 1)
        rows = tree.path_rows(leaves, layer.depth, layer.leaf_size)  # (T, K, D + 1)
        paths.extend(rows.flatten(1).unbind(-1))

    hooks = [
        module.register_forward_hook(lambda *args: states.append(args[2]))
        for module in (base.embeddings, *base.layers, base.final_norm)
    ]
    if model.config.ffn_type == "fff":
        hooks += [layer.ffn.register_forward_hook(visit) for layer in base.layers]
    model(ids, mask)
    for hook in hooks:
        hook.remove()
    return states, paths


@pytest.mark.parametrize("case", CASES)
def test_the_published_arithmetic(tmp_path, case):
    folder, theirs = saved(tmp_path, **CASES[case])
    ours = UltraFastBertForMaskedLM.from_pretrained(folder)
    ids, _ = batch()
    for mask in masks():
        states, paths = states_and_paths(ours, ids, mask)
        their_states, their_paths = theirs.encode(ids, mask)
        for a, b in zip(states, their_states, strict=True):
            assert_near(a, b)
        for a, b in zip(paths, their_paths, strict=True):
            assert torch.equal(a, b)
        assert_near(ours(ids, mask).logits, theirs.logits(ids, mask))


@pytest.mark.parametrize("case", CASES)
def test_loss_and_gradients(tmp_path, case):
    folder, theirs = saved(tmp_path, **CASES[case])
    ours = AutoModelForMaskedLM.from_pretrained(folder)
    ids, mask = batch()
    labels = torch.full_like(ids, -100)
    labels[:, 2:5] = ids[:, 2:5]
    loss = ours(ids, mask, labels=labels).loss
    their_loss = torch.nn.functional.cross_entropy(
        theirs.logits(ids, mask).flatten(0, 1), labels.flatten()
    )
    assert_near(loss, their_loss)
    loss.backward()
    their_loss.backward()
    grads = {name: p.grad for name, p in ours.named_parameters()}
    translated = crammed_tensors.to_theirs(grads, ours.config.to_dict(), MASKED_LM)
    assert set(translated) == set(theirs.parameters)
    for name, parameter in theirs.parameters.items():
        assert_near(translated[name], parameter.grad)


@pytest.mark.parametrize("pooler", ["avg", "zero_index", "max", "lse"])
@pytest.mark.parametrize("n_labels", [1, 2, 3])
def test_classification(tmp_path, pooler, n_labels):
    folder, theirs = saved(
        tmp_path, CLASSIFIER, n_labels=n_labels, head={"pooler": pooler, "nonlin": "ReLU"}
    )
    ours = AutoModelForSequenceClassification.from_pretrained(folder)
    ids, mask = batch()
    logits = theirs.logits(ids, mask)
    assert_near(ours(ids, mask).logits, logits)
    if n_labels == 1:
        labels = torch.tensor([0.5, 1.0, -2.0])
        loss = torch.nn.functional.mse_loss(logits.squeeze(-1), labels)
    else:
        labels = torch.tensor([1, 0, 1])
        loss = torch.nn.functional.cross_entropy(logits, labels)
    assert_near(ours(ids, mask, labels=labels).loss, loss)


def test_number_of_labels_is_that_of_the_file(tmp_path):
    config = make_config(CLASSIFIER, n_labels=3)
    tensors = make_tensors(config)
    del config["id2label"]
    folder = save(tmp_path, config, tensors)
    for model_class in (UltraFastBertForSequenceClassification, AutoModelForSequenceClassification):
        assert model_class.from_pretrained(folder).config.num_labels == 3


def test_ways_of_loading(tmp_path):
    folder, theirs = saved(tmp_path)
    ids, mask = batch()
    states = theirs.encode(ids, mask)[0]
    assert_near(AutoModel.from_pretrained(folder)(ids, mask)[0], states[-1])
    assert_near(UltraFastBertModel.from_pretrained(folder)(ids, mask)[0], states[-1])
    config = AutoConfig.from_pretrained(folder)
    assert isinstance(config, UltraFastBertConfig)
    assert config.architectures == ["UltraFastBertForMaskedLM"]
    direct = UltraFastBertConfig.from_pretrained(folder)
    assert direct.to_diff_dict() == config.to_diff_dict()
    tagger = AutoModelForTokenClassification.from_pretrained(folder, num_labels=5)
    assert tagger(ids, mask).logits.shape == (3, 12, 5)
    longer = UltraFastBertForMaskedLM.from_pretrained(folder, max_position_embeddings=40)
    assert_near(longer(ids, mask).logits, theirs.logits(ids, mask))
    assert longer(torch.ones(1, 40, dtype=torch.int64)).logits.shape == (1, 40, 61)
    small = UltraFastBertForMaskedLM.from_pretrained(folder, weight_dtype="int8")
    assert small.config.weight_dtype == "int8"
    half = AutoModelForMaskedLM.from_pretrained(folder, dtype=torch.bfloat16)
    assert half.dtype == torch.bfloat16
    model, info = UltraFastBertForMaskedLM.from_pretrained(folder, output_loading_info=True)
    assert not model.training
    assert not info["missing_keys"]


def test_an_encoder_saved_alone(tmp_path):
    folder, theirs = saved(tmp_path, ENCODER)
    ids, mask = batch()
    assert_near(AutoModel.from_pretrained(folder)(ids, mask)[0], theirs.encode(ids, mask)[0][-1])
    classifier = AutoModelForSequenceClassification.from_pretrained(folder, num_labels=3)
    assert classifier(ids, mask).logits.shape == (3, 3)


def test_shards(tmp_path):
    config = make_config()
    tensors = make_tensors(config)
    whole = UltraFastBertForMaskedLM.from_pretrained(save(tmp_path / "whole", config, tensors))
    parts = UltraFastBertForMaskedLM.from_pretrained(save(tmp_path / "parts", config, tensors, 3))
    for a, b in zip(whole.parameters(), parts.parameters(), strict=True):
        assert torch.equal(a, b)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_a_file_of_lower_precision_is_computed_in_float32(tmp_path, dtype):
    config = make_config(hidden_size=36, embedding={"embedding_dim": 36})
    tensors = {name: tensor.to(dtype) for name, tensor in make_tensors(config).items()}
    config["torch_dtype"] = str(dtype).removeprefix("torch.")
    model = UltraFastBertForMaskedLM.from_pretrained(save(tmp_path, config, tensors))
    assert model.dtype == torch.float32
    full = {name: tensor.float() for name, tensor in tensors.items()}
    exact = Published(config, full)
    rounded = full["encoder.layers.0.attn.self_attention.norm_factor"] * 3  # the head size is 9
    for i in range(2):  # as if the factor had been 1/3, with queries scaled instead
        name = f"encoder.layers.{i}.attn.self_attention.query_key_value.weight"
        with torch.no_grad():
            for head in range(4):
                exact.parameters[name][27 * head : 27 * head + 9] *= rounded
    ids, mask = batch()
    assert_near(model(ids, mask).logits, exact.logits(ids, mask))
