"""A saved model as a SentenceTransformer and as a CrossEncoder: encoding, training, saving."""

import pickle
import sys

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

import ultrafastbert
from ultrafastbert import (
    UltraFastBertConfig,
    UltraFastBertForMaskedLM,
    UltraFastBertForSequenceClassification,
    sentence_transformer,
)
from ultrafastbert.inference.encode import cosines, encode, read_texts, save_sentence_transformer
from ultrafastbert.kernels import native

library = pytest.importorskip("sentence_transformers")

TEXTS = ["The small tree skips the leaf.", "A leaf.", ""]
LONG = "the fast leaf " * 40


@pytest.fixture(scope="module")
def config(tokenizer):
    return UltraFastBertConfig(
        vocab_size=len(tokenizer),
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=4,
        tree_depth=3,
        leaf_size=2,
        max_position_embeddings=24,
        classifier_hidden_size=16,
        initializer_range=0.3,
    )


@pytest.fixture(scope="module")
def folder(config, tokenizer, tmp_path_factory):
    """Folder of a masked language model with its tokenizer, without modules.json."""
    path = tmp_path_factory.mktemp("mlm")
    torch.manual_seed(0)
    UltraFastBertForMaskedLM(config).save_pretrained(path)
    tokenizer.save_pretrained(path)
    return path


def expected(folder, tokenizer, texts, pooling="mean"):
    """Return embeddings by the model alone, one text after the other."""
    model = ultrafastbert.UltraFastBertModel.from_pretrained(folder).eval()
    vectors = []
    for text in texts:
        inputs = tokenizer(text, return_tensors="pt", truncation=True, max_length=24)
        with torch.no_grad():
            states = model(**inputs).last_hidden_state[0]
        vectors.append(states.mean(0) if pooling == "mean" else states[0])
    return torch.stack(vectors).numpy()


def load(folder, **options):
    return library.SentenceTransformer(str(folder), device="cpu", **options)


def test_plain_folder_is_pooled_by_mean_and_long_text_is_cut(folder, tokenizer):
    model = load(folder)
    assert model.max_seq_length == 24
    vectors = model.encode([*TEXTS, LONG])
    wanted = expected(folder, tokenizer, [*TEXTS, LONG])
    np.testing.assert_allclose(vectors, wanted, rtol=1e-4, atol=1e-5)


def test_saved_by_the_library_encodes_identically(folder, tmp_path):
    model = load(folder)
    model.save_pretrained(str(tmp_path))
    assert (tmp_path / "modules.json").exists()
    assert np.array_equal(load(tmp_path).encode(TEXTS), model.encode(TEXTS))


@pytest.mark.skipif(not native.KERNEL.is_available(), reason="the native core is not built")
def test_encoding_runs_on_the_native_kernel(folder, monkeypatch):
    prepared = []
    original = native.Prepared
    monkeypatch.setattr(
        native, "Prepared", lambda *a: prepared.append(original(*a)) or prepared[-1]
    )
    load(folder).encode(TEXTS)
    assert len(prepared) == 2  # layers


@pytest.mark.parametrize("weight_dtype", ["bfloat16", "int8"])
def test_smaller_weights_on_load_and_saved(folder, tmp_path, weight_dtype):
    exact = load(folder).encode(TEXTS)
    model = load(folder, model_kwargs={"weight_dtype": weight_dtype, "exact_routing": True})
    assert model[0].model.config.weight_dtype == weight_dtype
    vectors = model.encode(TEXTS)
    assert 0 < np.abs(vectors - exact).max() < 0.1 * np.abs(exact).max()
    model.save_pretrained(str(tmp_path))
    assert np.array_equal(load(tmp_path).encode(TEXTS), vectors)


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_half_precision(folder, dtype):
    vectors = load(folder, model_kwargs={"dtype": dtype}).encode(TEXTS)
    assert np.isfinite(vectors).all()
    assert cosines(np.stack([vectors[0], load(folder).encode(TEXTS[0])]))[0, 1] > 0.95


def test_prompts_truncated_vectors(folder):
    model = load(folder, prompts={"query": "The leaf "})
    assert np.array_equal(
        model.encode("skips.", prompt_name="query"), model.encode("The leaf skips.")
    )
    short = model.encode(TEXTS, truncate_dim=8)
    assert np.array_equal(short, model.encode(TEXTS)[:, :8])


def test_what_a_pool_of_processes_gets_encodes_the_same(folder):
    model = load(folder)
    vectors = model.encode(TEXTS)
    assert np.array_equal(pickle.loads(pickle.dumps(model)).encode(TEXTS), vectors)


def test_training_reaches_the_trees(folder, tmp_path):
    from datasets import Dataset
    from sentence_transformers.sentence_transformer.losses import MultipleNegativesRankingLoss

    words = ["tree", "leaf", "node", "path", "token", "layer", "neuron", "weight"]
    pairs = [(f"The {a} finds the {b}.", f"The {b} of {a}.") for a in words for b in words]
    data = Dataset.from_dict({"anchor": [a for a, _ in pairs], "positive": [b for _, b in pairs]})
    model = load(folder)
    before = {name: value.clone() for name, value in model.named_parameters()}
    arguments = library.SentenceTransformerTrainingArguments(
        str(tmp_path / "run"),
        num_train_epochs=8,
        per_device_train_batch_size=32,
        learning_rate=2e-3,
        logging_steps=1,
        save_strategy="no",
        report_to="none",
        disable_tqdm=True,
        use_cpu=True,
        dataloader_pin_memory=False,
        seed=0,
    )
    trainer = library.SentenceTransformerTrainer(
        model, arguments, train_dataset=data, loss=MultipleNegativesRankingLoss(model)
    )
    trainer.train()
    losses = [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]
    assert sum(losses[-2:]) < 0.8 * sum(losses[:2])
    changed = [name for name, value in model.named_parameters() if not value.equal(before[name])]
    assert {name.rsplit(".", 1)[-1] for name in changed if ".ffn." in name} == {
        "w_in",
        "b_in",
        "w_out",
    }
    model.save_pretrained(str(tmp_path / "trained"))
    assert np.array_equal(load(tmp_path / "trained").encode(TEXTS), model.encode(TEXTS))


def test_cross_encoder(config, tokenizer, tmp_path):
    torch.manual_seed(0)
    one = UltraFastBertConfig(**{**config.to_dict(), "num_labels": 1})
    model = UltraFastBertForSequenceClassification(one).eval()
    model.save_pretrained(tmp_path / "head")
    tokenizer.save_pretrained(tmp_path / "head")
    scorer = library.CrossEncoder(str(tmp_path / "head"), device="cpu")
    score = scorer.predict([(TEXTS[0], TEXTS[1]), (TEXTS[0], LONG)])
    inputs = tokenizer(TEXTS[0], TEXTS[1], return_tensors="pt")
    with torch.no_grad():
        wanted = torch.sigmoid(model(**inputs).logits).item()
    assert score[0] == pytest.approx(wanted, rel=1e-4)
    scorer.save_pretrained(str(tmp_path / "saved"))
    again = library.CrossEncoder(str(tmp_path / "saved"), device="cpu")
    assert again.predict([(TEXTS[0], TEXTS[1])])[0] == pytest.approx(wanted, rel=1e-4)


def test_pooling_and_length_are_chosen_once(folder, tokenizer, tmp_path):
    model = sentence_transformer(folder, "cls", normalize=True, device="cpu")
    wanted = expected(folder, tokenizer, TEXTS, "cls")
    wanted /= np.linalg.norm(wanted, axis=1, keepdims=True)
    np.testing.assert_allclose(model.encode(TEXTS), wanted, rtol=1e-4, atol=1e-5)
    save_sentence_transformer(folder, tmp_path, "cls", normalize=True)
    assert np.array_equal(load(tmp_path).encode(TEXTS), model.encode(TEXTS))
    card = (tmp_path / "README.md").read_text()
    assert "pipeline_tag: sentence-similarity" in card
    assert "pooling (cls), then normalize" in card
    with pytest.raises(ValueError, match="has its own"):
        sentence_transformer(tmp_path, "mean", device="cpu")
    with pytest.raises(FileExistsError, match="not empty"):
        save_sentence_transformer(folder, tmp_path)


def test_a_card_of_ours_survives_the_library(folder, tmp_path):
    save_sentence_transformer(folder, tmp_path / "one")
    load(tmp_path / "one").save_pretrained(str(tmp_path / "two"))
    cards = [(tmp_path / name / "README.md").read_text() for name in ("one", "two")]
    assert cards[0] == cards[1]


def test_missing_weights_are_refused(folder, tokenizer, tmp_path):
    for path in folder.glob("*.json"):
        (tmp_path / path.name).write_bytes(path.read_bytes())
    weights = load_file(folder / "model.safetensors")
    del weights["model.layers.0.ffn.w_in"]
    save_file(weights, tmp_path / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ValueError, match="lacks weights"):
        sentence_transformer(tmp_path)


def test_without_the_library_the_error_says_what_to_install(folder, monkeypatch):
    monkeypatch.setitem(sys.modules, "sentence_transformers", None)
    with pytest.raises(ImportError, match=r"ultrafastbert\[sentence-transformers\]"):
        sentence_transformer(folder)


def test_encode_counts_what_is_cut_and_refuses_nonsense(folder):
    model = load(folder)
    embeddings = encode(model, [*TEXTS, LONG])
    assert embeddings.vectors.shape == (4, 32)
    assert embeddings.vectors.dtype == np.float32
    assert embeddings.n_truncated == 1
    with pytest.raises(ValueError, match="texts is empty"):
        encode(model, [])
    with pytest.raises(ValueError, match="batch_size=0"):
        encode(model, TEXTS, batch_size=0)
    with torch.no_grad():
        model[0].model.layers[0].ffn.w_in.fill_(float("nan"))
    with pytest.raises(ValueError, match="not a number"):
        encode(model, TEXTS)


def test_cosines_of_zeros_are_zero():
    assert np.array_equal(cosines(np.zeros((2, 3), np.float32)), np.zeros((2, 2)))


def test_texts_are_lines(tmp_path):
    path = tmp_path / "texts.txt"
    path.write_text("one\n\ntwo\u2028lines\n", encoding="utf-8")
    assert read_texts(path) == ["one", "", "two\u2028lines"]


def test_command_encode(run, folder, tmp_path):
    code, out, err = run("encode", "--model", folder, *TEXTS[:2])
    assert code == 0, err
    assert "| 1 The small tree" in out
    assert out.count("1.000") == 2
    path, vectors = tmp_path / "texts.txt", tmp_path / "vectors.npy"
    path.write_text("\n".join([*TEXTS[:2], LONG]))
    options = ["--weight-dtype", "int8", "--normalize", "--pooling", "cls"]
    code, out, err = run(
        "encode", "--model", folder, "--text-file", path, "--out", vectors, *options
    )
    assert code == 0, err
    assert "3 vectors of 32" in out
    assert "cut to 24 tokens: 1" in err
    np.testing.assert_allclose(np.linalg.norm(np.load(vectors), axis=1), 1, rtol=1e-5)


def test_command_export(run, folder, tmp_path):
    code, out, err = run("export", "sentence-transformers", folder, tmp_path / "out")
    assert code == 0, err
    assert str(tmp_path / "out") in out
    assert np.array_equal(load(tmp_path / "out").encode(TEXTS), load(folder).encode(TEXTS))


WRONG = {
    "no model": (["encode", "--model", "{new}", "a", "b"], "config.json"),
    "model as a text": (["encode", "{model}", "a", "b"], "write --model {model}"),
    "one text": (["encode", "--model", "{model}", "a"], "--out"),
    "no text": (["encode", "--model", "{model}"], "--text-file"),
    "two sources": (["encode", "--model", "{model}", "a", "--text-file", "{empty}"], "either"),
    "empty file": (
        ["encode", "--model", "{model}", "--text-file", "{empty}", "--out", "{out}"],
        "is empty",
    ),
    "missing file": (
        ["encode", "--model", "{model}", "--text-file", "{new}", "--out", "{out}"],
        "{new}",
    ),
    "other suffix": (["encode", "--model", "{model}", "a", "--out", "{new}"], ".npy"),
    "pooling": (["encode", "--model", "{model}", "a", "b", "--pooling", "foo"], "foo"),
    "weights": (["encode", "--model", "{model}", "a", "b", "--weight-dtype", "int3"], "int3"),
    "used folder": (["export", "sentence-transformers", "{model}", "{model}"], "not empty"),
}


@pytest.mark.parametrize("case", WRONG)
def test_wrong_input_is_one_clear_line(run, folder, tmp_path, case):
    names = {"new": tmp_path / "new", "empty": tmp_path / "empty", "out": tmp_path / "out.npy"}
    names["empty"].write_text("\n")
    arguments, message = WRONG[case]
    code, out, err = run(*(argument.format(model=folder, **names) for argument in arguments))
    assert code == 2, (out, err)
    assert message.format(model=folder, **names) in err
    assert err.splitlines()[-1].startswith("error: ")
    assert "Traceback" not in err
    assert not names["out"].exists()
