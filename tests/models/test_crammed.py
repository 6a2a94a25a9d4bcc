"""Published checkpoints: numbers, ways of loading, what is refused, and the way back."""

import json
import pickle
import random

import pytest
import torch
from crammed_models import (
    CLASSIFIER,
    ENCODER,
    MASKED_LM,
    Published,
    make_config,
    make_tensors,
    save,
)
from safetensors import safe_open
from safetensors.torch import load_file
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
from ultrafastbert.models.io.crammed_export import export_crammed
from ultrafastbert.models.io.crammed_import import import_checkpoint

BIASES = {"use_bias": True, "decoder_bias": True, "attention": {"qkv_bias": True}}
TRANSFORM = {"skip_head_transform": False}
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


def batch():
    torch.manual_seed(3)
    ids = torch.randint(0, 61, (3, 12))
    mask = torch.ones(3, 12, dtype=torch.int64)
    mask[1, 8:] = 0
    mask[2, :5] = 0
    return ids, mask


def masks():
    _, mask = batch()
    queries = (torch.rand(3, 12, 12) < 0.7).float()
    queries[:, :, 0] = 1
    return [None, mask, mask.float(), queries]


def saved(tmp_path, kind=MASKED_LM, **options):
    config = make_config(kind, **options)
    tensors = make_tensors(config)
    return save(tmp_path / "theirs", config, tensors), Published(config, tensors)


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


def assert_near(ours, theirs):
    torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-5)


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


def test_pickles_are_read_on_request_only(tmp_path):
    config = make_config()
    tensors = make_tensors(config)
    folder = save(tmp_path, config, tensors)
    (folder / "model.safetensors").unlink()
    torch.save(tensors, folder / "pytorch_model.bin")
    with pytest.raises(OSError, match="use_safetensors=False"):
        UltraFastBertForMaskedLM.from_pretrained(folder)
    model = UltraFastBertForMaskedLM.from_pretrained(folder, use_safetensors=False)
    ids, mask = batch()
    assert_near(model(ids, mask).logits, Published(config, tensors).logits(ids, mask))


def test_import_names_what_it_cannot_read(tmp_path):
    with pytest.raises(FileNotFoundError, match="absent is not a folder"):
        import_checkpoint(tmp_path / "absent", tmp_path / "ours")
    folder = save(tmp_path / "theirs", make_config(), make_tensors(make_config()))
    (tmp_path / "ours").mkdir()
    (tmp_path / "ours" / "notes.txt").write_text("mine")
    with pytest.raises(FileExistsError, match="not empty"):
        import_checkpoint(folder, tmp_path / "ours")
    import_checkpoint(folder, tmp_path / "new")
    with pytest.raises(ValueError, match="model_type='ultrafastbert'; import reads published"):
        import_checkpoint(tmp_path / "new", tmp_path / "again")


class Bomb:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return open, (str(self.path), "w")


@pytest.mark.parametrize("as_archive", [True, False])
def test_code_in_a_pickle_is_not_run(tmp_path, as_archive):
    folder = save(tmp_path / "theirs", make_config(), make_tensors(make_config()))
    (folder / "model.safetensors").unlink()
    file, fuse = folder / "pytorch_model.bin", tmp_path / "executed"
    if as_archive:
        torch.save({"encoder.final_norm.bias": Bomb(fuse)}, file)
    else:
        file.write_bytes(pickle.dumps(Bomb(fuse)))
    for options in ({}, {"use_safetensors": False}):
        with pytest.raises((OSError, ValueError)):
            UltraFastBertForMaskedLM.from_pretrained(folder, **options)
    assert not fuse.exists()


WORDS = "encoder.embedding.word_embedding.weight"
LAYER = "encoder.layers.1"


def swapped(tensors, one, other):
    return {**tensors, one: tensors[other], other: tensors[one]}


WRONG = {
    "missing": (lambda t: {k: v for k, v in t.items() if k != f"{LAYER}.norm1.bias"}, "norm1.bias"),
    "missing factor": (
        lambda t: {k: v for k, v in t.items() if not k.startswith(f"{LAYER}.attn.self")},
        "norm_factor",
    ),
    "missing layer": (lambda t: {k: v for k, v in t.items() if LAYER not in k}, "of 1 layers"),
    "extra": (lambda t: {**t, "encoder.layers.1.ffn.gate": torch.ones(3)}, "ffn.gate"),
    "extra layer": (lambda t: {**t, "encoder.layers.2.norm1.bias": torch.ones(32)}, "of 3 layers"),
    "swapped": (
        lambda t: swapped(t, f"{LAYER}.ffn.linear_in.weight", f"{LAYER}.ffn.linear_out.weight"),
        r"linear_in.weight has shape \(32, 15\), but its config.json means \(15, 32\)",
    ),
    "cut": (lambda t: {**t, WORDS: t[WORDS][:-1], "decoder.weight": t[WORDS][:-1]}, "shape"),
    "not tied": (lambda t: {**t, "decoder.weight": t[WORDS] + 1}, "decoder.weight and .* differ"),
    "integers": (lambda t: {**t, "encoder.final_norm.bias": torch.ones(32).int()}, "final_norm.b"),
    "one of another precision": (
        lambda t: {**t, "encoder.final_norm.bias": torch.ones(32).half()},
        "final_norm.bias has dtype torch.float16",
    ),
    "not a number": (
        lambda t: {**t, f"{LAYER}.ffn.linear_in.bias": torch.full((15,), float("nan"))},
        "linear_in.bias has values that are not finite",
    ),
    "infinite": (lambda t: {**t, f"{LAYER}.norm2.bias": torch.full((32,), torch.inf)}, "finite"),
}


@pytest.mark.parametrize("case", WRONG)
@pytest.mark.parametrize("n_shards", [1, 2])
def test_wrong_tensors_are_named(tmp_path, case, n_shards):
    change, message = WRONG[case]
    config = make_config()
    folder = save(tmp_path / "theirs", config, change(make_tensors(config)), n_shards)
    for load in (UltraFastBertForMaskedLM.from_pretrained, AutoModel.from_pretrained):
        with pytest.raises(ValueError, match=message):
            load(folder)
    with pytest.raises(ValueError, match=message):
        import_checkpoint(folder, tmp_path / "ours")
    assert not (tmp_path / "ours").exists()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"hidden_size": "32"}, "arch.hidden_size='32' must be a whole number"),
        ({"hidden_size": -32}, "arch.hidden_size=-32"),
        ({"num_transformer_layers": 10**9}, "num_transformer_layers=1000000000"),
        ({"num_transformer_layers": True}, "num_transformer_layers=True"),
        ({"intermed_depth": 200}, "depth=200"),
        ({"intermed_type": "moe"}, "intermed_type='moe'"),
        ({"nonlin": "GELUglu"}, "fff those that are not gated"),
        ({"nonlin": "Swish"}, "arch.nonlin='Swish' is not supported"),
        ({"norm": "RMSNorm"}, "arch.norm='RMSNorm' is not supported, only 'LayerNorm'"),
        ({"final_norm": False}, "final_norm=False"),
        ({"embedding": {"pos_embedding": "learned"}}, "pos_embedding='learned'"),
        ({"embedding": {"embedding_dim": 16}}, "embedding_dim=16"),
        ({"attention": {"rotary_embedding": "llama"}}, "rotary_embedding='llama'"),
        ({"attention": {"causal_attention": True}}, "causal_attention=True"),
        ({"attention": {"num_attention_heads": 5}}, "multiple of"),
        ({"head": {"pooler": "middle"}}, "pooler='middle' must be one of avg"),
        ({"classification_head": None}, "no mapping 'arch.classification_head'"),
        ({"norm_eps": float("nan")}, "norm_eps=nan"),
    ],
)
def test_wrong_configurations_are_named(tmp_path, options, message):
    good = make_config()
    config = make_config(**options)
    folder = save(tmp_path, config, make_tensors(good))
    with pytest.raises(ValueError, match=message):
        UltraFastBertForMaskedLM.from_pretrained(folder)


@pytest.mark.parametrize(
    ("weight_map", "message"),
    [
        ({"a": "../model.safetensors"}, "no .safetensors file of its folder"),
        ({"a": "/etc/passwd"}, "no .safetensors file of its folder"),
        ({"a": 3}, "names 3"),
        ({"a": "absent.safetensors"}, "not there"),
        ({}, "empty"),
        ([], "empty or no mapping"),
    ],
)
def test_a_hostile_index(tmp_path, weight_map, message):
    folder = save(tmp_path, make_config(), make_tensors(make_config()), 2)
    index = folder / "model.safetensors.index.json"
    index.write_text(json.dumps({"weight_map": weight_map}))
    with pytest.raises((ValueError, OSError), match=message):
        UltraFastBertForMaskedLM.from_pretrained(folder)


def mutate(draw, folder, original):
    """Damage a file of a checkpoint: its header, length or configuration."""
    (folder / "config.json").write_bytes(original["config.json"])
    (folder / "model.safetensors").write_bytes(original["model.safetensors"])
    name = draw.choice(["config.json", "model.safetensors", "model.safetensors"])
    data = bytearray(original[name])
    header = 8 + int.from_bytes(data[:8], "little") if name == "model.safetensors" else len(data)
    kind = draw.choice(["cut", "flip", "flip", "insert", "swap", "number", "random"])
    at = draw.randrange(header)
    if kind == "cut":
        del data[draw.randrange(len(data)) :]
    elif kind == "flip":
        data[at] ^= 1 << draw.randrange(8)
    elif kind == "insert":
        data[at:at] = draw.randbytes(draw.randrange(1, 9))
    elif kind == "swap":
        other = draw.randrange(header)
        data[at : at + 8], data[other : other + 8] = data[other : other + 8], data[at : at + 8]
    elif kind == "number":
        data[at : at + 1] = draw.choice([b"-1", b"1e999", b"99999999999999999999", b'"', b"null"])
    else:
        data = bytearray(draw.randbytes(draw.randrange(200)))
    (folder / name).write_bytes(data)


@pytest.mark.parametrize("ours", [False, True])
def test_a_thousand_damaged_checkpoints(tmp_path, ours):
    config = make_config(num_transformer_layers=1, intermed_depth=1)
    folder = save(tmp_path / "theirs", config, make_tensors(config))
    if ours:
        import_checkpoint(folder, tmp_path / "ours")
        folder = tmp_path / "ours"
    names = ("config.json", "model.safetensors")
    original = {name: (folder / name).read_bytes() for name in names}
    whole = UltraFastBertForMaskedLM.from_pretrained(folder)
    draw, refused = random.Random(0), 0
    for _ in range(500):
        mutate(draw, folder, original)
        try:
            model = UltraFastBertForMaskedLM.from_pretrained(folder)
        except (ValueError, OSError):
            refused += 1
        else:  # something without meaning for the weights, such as dropout or a blank
            for (name, a), b in zip(whole.named_parameters(), model.parameters(), strict=True):
                assert torch.equal(a, b), name
    assert refused > 350


def test_ours_to_theirs_and_back(tmp_path):
    torch.manual_seed(0)
    for number, options in enumerate(
        (
            {"n_trees": 2, "tree_depth": 3},
            {"ffn_type": "ff", "intermediate_size": 24, "use_bias": True, "head_transform": True},
            {"ffn_type": "glu", "intermediate_size": 24, "decoder_bias": True, "qkv_bias": True},
        )
    ):
        config = UltraFastBertConfig(
            vocab_size=61,
            hidden_size=32,
            num_hidden_layers=2,
            num_attention_heads=4,
            max_position_embeddings=16,
            **options,
        )
        model = UltraFastBertForMaskedLM(config).eval()
        ours, theirs, again = (tmp_path / f"{name}{number}" for name in ("ours", "theirs", "again"))
        model.save_pretrained(ours)
        export_crammed(ours, theirs)
        import_checkpoint(theirs, again)
        back = UltraFastBertForMaskedLM.from_pretrained(again)
        for (name, a), b in zip(model.named_parameters(), back.parameters(), strict=True):
            assert torch.equal(a, b), name
        stored = json.loads((theirs / "config.json").read_text())
        ids, mask = batch()
        published = Published(stored, load_file(theirs / "model.safetensors"))
        assert_near(model(ids, mask).logits, published.logits(ids, mask))


def test_theirs_to_ours_and_back(tmp_path):
    for kind in (MASKED_LM, CLASSIFIER, ENCODER):
        config = make_config(kind, n_labels=3, **BIASES, **TRANSFORM)
        folder = save(tmp_path / kind, config, make_tensors(config))
        import_checkpoint(folder, tmp_path / f"ours {kind}")
        export_crammed(tmp_path / f"ours {kind}", tmp_path / f"again {kind}")
        before = load_file(folder / "model.safetensors")
        after = load_file(tmp_path / f"again {kind}" / "model.safetensors")
        assert before.keys() == after.keys()
        for name, tensor in before.items():
            assert torch.equal(tensor, after[name]), name
        stored = json.loads((tmp_path / f"again {kind}" / "config.json").read_text())
        assert stored["arch"] == {**config["arch"], "num_labels": stored["arch"]["num_labels"]}
        assert stored["architectures"] == [kind]
        with safe_open(tmp_path / f"again {kind}" / "model.safetensors", "pt") as file:
            assert file.metadata() == {"format": "pt"}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"leaf_size": 2}, "leaf_size=2 has no place in this format, only 1"),
        ({"ffn_type": "none"}, "ffn_type='none'"),
        ({"position_embedding_type": "rotary"}, "position_embedding_type='rotary'"),
        ({"hidden_act": "gelu_pytorch_tanh"}, "gelu_pytorch_tanh"),
        ({"shared_size": 2}, "shared_size=2"),
    ],
)
def test_what_their_format_cannot_hold(tmp_path, options, message):
    sizes = {"vocab_size": 61, "hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 4}
    model = UltraFastBertForMaskedLM(UltraFastBertConfig(**{**sizes, "tree_depth": 2, **options}))
    model.save_pretrained(tmp_path / "ours")
    with pytest.raises(ValueError, match=message):
        export_crammed(tmp_path / "ours", tmp_path / "theirs")
    assert not (tmp_path / "theirs").exists()


def test_a_saved_model_of_ours_must_be_whole(tmp_path):
    config = make_config()
    folder = save(tmp_path / "theirs", config, make_tensors(config))
    model = import_checkpoint(folder, tmp_path / "ours")
    state = {k: v for k, v in model.state_dict().items() if k != "decoder.weight"}
    for change, message in (
        ({}, None),
        ({"model.final_norm.bias": None}, "lacks weights of the model: 'model.final_norm.bias'"),
        ({"model.final_norm.bias": torch.full((32,), torch.nan)}, "final_norm.bias has values"),
    ):
        changed = {k: v for k, v in {**state, **change}.items() if v is not None}
        model.save_pretrained(tmp_path / "ours", state_dict=changed)
        if message is None:
            UltraFastBertForMaskedLM.from_pretrained(tmp_path / "ours")
            continue
        with pytest.raises(ValueError, match=message):
            UltraFastBertForMaskedLM.from_pretrained(tmp_path / "ours")
