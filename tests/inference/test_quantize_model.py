"""Converted models stored compactly, their cards, and the one that comes with the package."""

import dataclasses
import json

import pytest
import torch
from encoders import save_dense_encoder, write_stsb
from huggingface_hub import ModelCard
from report_rows import converted_row
from safetensors.torch import load_file
from transformers import (
    AutoModel,
    AutoModelForMaskedLM,
    AutoTokenizer,
    BertConfig,
    BertForMaskedLM,
    GPT2Config,
    GPT2Model,
)

import ultrafastbert
from ultrafastbert import FastFeedForward, rows
from ultrafastbert.bench import bench_converted, timing
from ultrafastbert.bench import converted as speed
from ultrafastbert.bench import encoder_latency as latency
from ultrafastbert.inference import encode, quantize
from ultrafastbert.inference.optimized.backends import PackedLinear, available_linears
from ultrafastbert.inference.quantize import quantize_model
from ultrafastbert.models.converted.folder import load_dense, save_converted
from ultrafastbert.models.converted.model import converted_copy
from ultrafastbert.models.io.card import is_ours
from ultrafastbert.report import write_model_card
from ultrafastbert.train import finetune as glue

pytestmark = pytest.mark.usefixtures("few_library_texts")

MEGABYTES = 80


@pytest.fixture(scope="module")
def dense(tokenizer, tmp_path_factory):
    return save_dense_encoder(tokenizer, tmp_path_factory.mktemp("dense"))


@pytest.fixture(scope="module")
def folder(dense, tmp_path_factory):
    """Folder of a converted model, with what a conversion leaves beside it."""
    out = tmp_path_factory.mktemp("converted")
    torch.manual_seed(0)
    save_converted(converted_copy(load_dense(dense), ["1x2x3", "2x1x8"]), dense, out)
    control = converted_copy(load_dense(dense), ["none", "none"])
    save_converted(control, dense, out / "controls" / "none")
    (out / "convert.json").write_text("{}")
    (out / "figures").mkdir()
    return out


@pytest.fixture(scope="module")
def sentences(documents):
    return [line for document in documents for line in document.split(". ")]


@pytest.fixture
def ids():
    return torch.randint(5, 100, (2, 7), generator=torch.Generator().manual_seed(0))


def layers(model):
    return [module for module in model.modules() if isinstance(module, FastFeedForward)]


@pytest.mark.parametrize("weight_dtype", ["int8", "bfloat16"])
def test_a_smaller_model_is_nearly_the_same(folder, ids, tmp_path, weight_dtype):
    row = quantize_model(folder, tmp_path / "small", weight_dtype)
    small = AutoModel.from_pretrained(tmp_path / "small")
    assert small.dtype == torch.float32
    assert {layer.weight_dtype for layer in layers(small)} == {weight_dtype}
    assert 0.99 < row.cosine_min <= row.cosine_mean < 1
    assert row.bytes < row.bytes_before / 1.5
    stored = load_file(tmp_path / "small" / "model.safetensors")
    assert stored["embeddings.word_embeddings.weight"].dtype == torch.bfloat16
    assert stored["embeddings.LayerNorm.weight"].dtype == torch.float32
    with torch.inference_mode():
        expected = AutoModel.from_pretrained(folder)(ids).last_hidden_state
        got = small(ids).last_hidden_state
    assert 0 < (got - expected).norm() / expected.norm() < 0.1


def test_what_a_conversion_leaves_beside_its_model_is_left_out(folder, tmp_path):
    quantize_model(folder, tmp_path / "small")
    names = {path.name for path in (tmp_path / "small").iterdir()}
    assert {"1_Pooling", "README.md", "README.original.md", "rows.jsonl"} <= names
    assert not names & {"controls", "convert.json", "figures"}


def test_scores_before_and_after_are_in_the_row(folder, sentences, tmp_path):
    row = quantize_model(
        folder, tmp_path / "small", glue_dir=write_stsb(tmp_path / "glue", sentences)
    )
    (before,), (after,) = row.scores_before, row.scores
    assert before.of == after.of == ("stsb", "validation", "spearman")
    assert before.value == pytest.approx(after.value, abs=5)
    assert rows.read_rows(tmp_path / "small")[-1] == row


def test_tied_matrices_stay_tied(tokenizer, ids, tmp_path):
    config = BertConfig(
        vocab_size=len(tokenizer), hidden_size=16, num_hidden_layers=1, num_attention_heads=2
    )
    converted_copy(BertForMaskedLM(config), ["1x2x3"]).save_pretrained(tmp_path / "full")
    tokenizer.save_pretrained(tmp_path / "full")
    quantize_model(tmp_path / "full", tmp_path / "small")
    assert "cls.predictions.decoder.weight" not in load_file(tmp_path / "small/model.safetensors")
    small = AutoModelForMaskedLM.from_pretrained(tmp_path / "small")
    assert small.get_output_embeddings().weight is small.get_input_embeddings().weight
    with torch.inference_mode():
        assert small(ids).logits.isfinite().all()


def test_models_below_a_masked_language_head_are_timed_and_encode(tokenizer, tmp_path, monkeypatch):
    monkeypatch.setattr(latency, "SECONDS", 0.0)
    monkeypatch.setattr(timing, "TURN_SECONDS", 1e-3)
    config = BertConfig(
        vocab_size=len(tokenizer), hidden_size=16, num_hidden_layers=1, num_attention_heads=2
    )
    original, out = tmp_path / "original", tmp_path / "out"
    BertForMaskedLM(config).save_pretrained(original)  # it has no pooler
    tokenizer.save_pretrained(original)
    save_converted(converted_copy(load_dense(original), ["1x2x3"]), original, out)
    found = bench_converted(out, original)
    assert list(dict.fromkeys(row.model for row in found)) == ["fff", "fff_int8", "teacher"]
    pytest.importorskip("sentence_transformers")
    for folder in (original, out):
        model = ultrafastbert.sentence_transformer(folder, device="cpu")
        assert model.encode(["a leaf"]).shape == (1, 16)


def test_tokenizers_without_padding_are_saved_with_it(tokenizer, sentences, tmp_path):
    sizes = {"vocab_size": len(tokenizer), "n_embd": 16, "n_layer": 1, "n_head": 2}
    original, out = tmp_path / "original", tmp_path / "out"
    GPT2Model(GPT2Config(**sizes)).save_pretrained(original)
    tokenizer.save_pretrained(original)
    without = AutoTokenizer.from_pretrained(original, eos_token="[SEP]")
    without.pad_token = None
    without.save_pretrained(original)
    save_converted(converted_copy(load_dense(original), ["1x2x3"]), original, out)
    assert AutoTokenizer.from_pretrained(out).pad_token == "[SEP]"
    quantize_model(out, tmp_path / "small")
    data = write_stsb(tmp_path / "glue", sentences)
    config = glue.GlueConfig(epochs=1)
    assert glue.fine_tune(original, "stsb", 0, config, data).kind == "glue"


def test_what_cannot_be_quantized_is_named(folder, dense, tmp_path, monkeypatch):
    with pytest.raises(ValueError, match="class BertModel, without fast feedforward layers"):
        quantize_model(dense, tmp_path / "small")
    with pytest.raises(ValueError, match="weight_dtype='int4' is unknown"):
        quantize_model(folder, tmp_path / "small", "int4")
    with pytest.raises(ValueError, match="no fast feedforward layers"):
        quantize_model(folder / "controls" / "none", tmp_path / "small")
    with pytest.raises(FileExistsError, match="not empty"):
        quantize_model(folder, folder)
    quantize_model(folder, tmp_path / "once")
    with pytest.raises(ValueError, match="are int8 already; quantize the original"):
        quantize_model(tmp_path / "once", tmp_path / "small")
    monkeypatch.setattr(quantize, "LEAST_COSINE", 1.1)
    with pytest.raises(ValueError, match="weight_dtype='int8' changes sentence vectors too much"):
        quantize_model(folder, tmp_path / "small")
    assert not (tmp_path / "small").exists()


@pytest.mark.parametrize("exact_routing", [False, True])
def test_converted_models_are_quantized_on_load_and_saved(folder, ids, tmp_path, exact_routing):
    options = {"weight_dtype": "int8", "exact_routing": exact_routing}
    model = AutoModel.from_pretrained(folder, **options)
    assert [layer.weight_dtype for layer in layers(model)] == ["int8", "int8"]
    model.save_pretrained(tmp_path)
    again = AutoModel.from_pretrained(tmp_path)
    assert (again.config.weight_dtype, again.config.exact_routing) == ("int8", exact_routing)
    with torch.inference_mode():
        assert torch.equal(again(ids).last_hidden_state, model(ids).last_hidden_state)
    with pytest.raises(ValueError, match="are int8; load the original"):
        AutoModel.from_pretrained(tmp_path, weight_dtype="bfloat16")


def test_the_card_names_the_original_and_its_licence(folder, dense):
    text = (folder / "README.md").read_text()
    assert is_ours(text)
    card = ModelCard(text)
    assert (card.data.license, card.data.language) == ("apache-2.0", "en")
    assert card.data.pipeline_tag == "sentence-similarity"
    assert "# tiny-encoder with fast feedforward layers" in text
    assert "0: `1x2x3`, 5 of 15 neurons" in text
    assert "Its licence is apache-2.0" in text
    assert (folder / "README.original.md").read_text() == (dense / "README.md").read_text()
    control = (folder / "controls" / "none" / "README.md").read_text()
    assert "# tiny-encoder with none\n\nA control" in control


@pytest.mark.parametrize("readme", [None, "no heading", "---\n- a: [\n---\n# broken\n"])
def test_the_card_says_where_a_licence_is_not_known(dense, tmp_path, readme):
    original = tmp_path / "original"
    load_dense(dense).save_pretrained(original)
    if readme is not None:
        (original / "README.md").write_text(readme)
    save_converted(converted_copy(load_dense(dense), ["1x2x3", None]), original, tmp_path / "out")
    text = (tmp_path / "out" / "README.md").read_text()
    assert "A model of type bert is the original" in text
    assert "licence is not recorded here" in text
    assert "1: the original's" in text


@pytest.mark.slow
def test_the_card_shows_results_speed_and_what_quantizing_changed(
    folder, dense, tmp_path, monkeypatch
):
    monkeypatch.setattr(latency, "SECONDS", 0.0)
    monkeypatch.setattr(timing, "TURN_SECONDS", 1e-3)
    models = {"fff": 0.1, "none": 0.5, "teacher": 0.0}
    new = [converted_row(name, "1x2x3", x, seed) for name, x in models.items() for seed in (0, 1)]
    quantize_model(folder, tmp_path / "small")
    rows.append_rows(tmp_path / "small" / "rows.jsonl", new)
    measured = bench_converted(folder, dense)
    ways = [(linear.name, linear.precision) for linear in available_linears()]
    assert [(row.model, row.implementation, row.precision) for row in measured] == [
        (model, *way) for model in ("fff", "fff_int8", "none", "teacher") for way in ways
    ]
    original = measured[-len(ways) :]
    assert original[0].speedup_text.median == 1
    fastest = min(original, key=lambda row: row.latency_batch_ms)
    assert fastest.speedup_batch_over_fastest == (1.0, 1.0, 1.0)
    assert all(row.cosine_text > 0.98 for row in measured)
    assert write_model_card(tmp_path / "small", folder)
    text = (tmp_path / "small" / "README.md").read_text()
    assert "| fast feedforward (1x2x3) | 5 | 10.0 ± 0.0 | 80 ± 0 |" in text
    assert "| computed by | precision | fast feedforward | fast feedforward, int8 weights" in text
    assert "### Stored compactly" in text
    assert "Some results rest on 2 seeds" in text
    assert "not recorded in this folder" not in text


def test_models_of_another_vocabulary_are_no_original(folder, tokenizer, tmp_path):
    config = BertConfig(vocab_size=7, hidden_size=16, num_hidden_layers=1, num_attention_heads=2)
    transformer = AutoModel.from_config(config)
    transformer.save_pretrained(tmp_path)
    with pytest.raises(ValueError, match="is not the original of"):
        bench_converted(folder, tmp_path)


def test_commands(run, folder, dense, tmp_path, monkeypatch):
    monkeypatch.setattr(latency, "SECONDS", 0.0)
    monkeypatch.setattr(timing, "TURN_SECONDS", 1e-3)
    code, out, err = run("quantize", folder, tmp_path / "small", "--weight-dtype", "bfloat16")
    assert code == 0, err
    assert "| bfloat16 | " in out
    assert "Stored compactly" in (tmp_path / "small" / "README.md").read_text()
    code, out, err = run("bench", "converted", tmp_path / "small", dense)
    assert code == 0, err
    assert "| the original |" in out
    assert "### Speed" in (tmp_path / "small" / "README.md").read_text()
    assert run("quantize", dense, tmp_path / "other")[0] == 2


def test_encode_uses_the_bundled_model(run, folder, tmp_path, monkeypatch):
    pytest.importorskip("sentence_transformers")
    quantize_model(folder, tmp_path / "small")
    monkeypatch.setattr(encode, "bundled_model", lambda: tmp_path / "small")
    assert ultrafastbert.sentence_transformer(device="cpu").encode(["a leaf"]).shape == (1, 16)
    code, out, err = run("encode", "a small tree", "a leaf")
    assert code == 0, err
    assert "| 1 a small tree | 1.000 |" in out
    code, _, err = run("encode", folder, "a leaf")
    assert code == 2
    assert f"write --model {folder}" in err


def test_an_installation_without_the_model_says_so(run, tmp_path, monkeypatch):
    pytest.importorskip("sentence_transformers")
    monkeypatch.setattr("ultrafastbert_runtime.bundled.find_spec", lambda name: None)
    code, _, err = run("encode", "a", "b")
    assert code == 2
    assert "--model" in err


def test_the_bundled_model_tells_texts_apart():
    pytest.importorskip("ultrafastbert_minilm")
    folder = ultrafastbert.bundled_model()
    files = [path for path in folder.rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in files) < MEGABYTES * 1e6
    assert not [path for path in files if path.suffix in (".bin", ".py", ".pkl")]
    assert (folder / "onnx" / "model.onnx").is_file()
    config = json.loads((folder / "config.json").read_text())
    assert config["weight_dtype"] == "int8"
    assert None not in config["ffn"]
    card = (folder / "README.md").read_text()
    assert "license: apache-2.0" in card
    assert "FVU of the last hidden states" in card
    pytest.importorskip("sentence_transformers")
    texts = ["A man is playing a guitar.", "Someone plays an instrument.", "The stock market fell."]
    model = ultrafastbert.sentence_transformer(device="cpu")
    cosines = encode.cosines(model.encode(texts))
    assert cosines[0, 1] > cosines[0, 2] + 0.2
    assert cosines[0, 1] > cosines[1, 2] + 0.2


def rows_of(folder):
    path = folder / "rows.jsonl"
    return path.read_text() if path.exists() else None


def test_a_way_that_computes_something_else_is_not_timed(folder, dense, monkeypatch):
    def wrong(weight, bias, n_tokens, gelu):
        run = lambda x: 2 * torch.nn.functional.linear(x, weight, bias)  # noqa: E731
        return PackedLinear(run, lambda: weight)

    linear = dataclasses.replace(available_linears()[0], name="wrong", pack=wrong)
    monkeypatch.setattr(speed, "available_linears", lambda: [linear])
    before = rows_of(folder)
    with pytest.raises(RuntimeError, match=r"fff wrong float32 gives other vectors .* cosine is"):
        bench_converted(folder, dense)
    assert rows_of(folder) == before
