"""Our models in the published format, and back."""

import json

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
)
from safetensors import safe_open
from safetensors.torch import load_file

from ultrafastbert import (
    UltraFastBertConfig,
    UltraFastBertForMaskedLM,
)
from ultrafastbert.models.io.crammed_export import export_crammed
from ultrafastbert.models.io.crammed_import import import_checkpoint


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
