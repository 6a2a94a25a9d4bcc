"""Published checkpoints that are refused: wrong, damaged or hostile ones."""

import json
import pickle
import random

import pytest
import torch
from crammed_models import (
    Published,
    assert_near,
    batch,
    make_config,
    make_tensors,
    save,
)
from transformers import (
    AutoModel,
)

from ultrafastbert import (
    UltraFastBertForMaskedLM,
)
from ultrafastbert.models.io.crammed_import import import_checkpoint


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
        ({"a": "../model.safetensors"}, "not a .safetensors file of its folder"),
        ({"a": "/etc/passwd"}, "not a .safetensors file of its folder"),
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


@pytest.mark.slow
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
