"""Converting dense encoders: what is saved loads, is trained right, and is measured."""

import copy
import dataclasses
import itertools
import json
import sys
from collections import Counter
from functools import partial

import pytest
import torch
import transformers
from safetensors.torch import load_file, save_file
from transformers import (
    AutoModel,
    AutoModelForMaskedLM,
    AutoModelForSequenceClassification,
    BertForMaskedLM,
    CanineTokenizer,
    RobertaTokenizer,
)

from ultrafastbert import FastFeedForward, cli
from ultrafastbert.bench import timing
from ultrafastbert.data.sampling import pieces, sample, texts_of
from ultrafastbert.data.text_batches import batches_of
from ultrafastbert.distill import (
    ConvertConfig,
    RegressionConfig,
    conversion,
    convert,
    end_to_end,
    regress,
    unexplained,
)
from ultrafastbert.distill.equal_latency import time_equal_width, widest
from ultrafastbert.distill.routing import decision_loss, leaf_errors
from ultrafastbert.distill.scaling import Scaling
from ultrafastbert.distill.sequential import capture_in_sequence
from ultrafastbert.distill.splits import set_hyperplanes
from ultrafastbert.distill.teacher.capture import Captured, capture
from ultrafastbert.distill.teacher.distance import distance
from ultrafastbert.distill.teacher.targets import capture_targets, disk_bytes, layers_learned
from ultrafastbert.models.converted.architectures import block_of, layers_of
from ultrafastbert.models.converted.feedforward import ConvertedBlock
from ultrafastbert.models.converted.folder import load_dense, save_converted
from ultrafastbert.models.converted.hooks import run_tapped
from ultrafastbert.models.converted.model import converted_copy
from ultrafastbert.models.converted.norms import norms_after
from ultrafastbert.report.convert_tables import convert_table, convert_task_table, equal_width
from ultrafastbert.train import resumable

SIZES = {
    "hidden_size": 16,
    "embedding_size": 16,
    "dim": 16,
    "num_hidden_layers": 2,
    "n_layers": 2,
    "num_attention_heads": 2,
    "n_heads": 2,
    "intermediate_size": 32,
    "hidden_dim": 32,
    "vocab_size": 250,
}
TOKENS = {f"{name}_token_id": 0 for name in ("pad", "bos", "eos", "cls", "sep")}
HEADS = {"roberta": "classifier.out_proj.weight", "electra": "classifier.out_proj.weight"}
HEADS |= dict.fromkeys(("bert", "distilbert", "modernbert"), "classifier.weight")


def tiny_model(model_type="bert", auto_class=AutoModel):
    torch.manual_seed(0)
    original = transformers.CONFIG_MAPPING[model_type]
    known = {name: value for name, value in SIZES.items() if hasattr(original(), name)}
    config = original(**known | TOKENS)
    return auto_class.from_config(config).eval()


@pytest.fixture(scope="module")
def ids():
    return torch.randint(5, 250, (2, 7), generator=torch.Generator().manual_seed(0))


def test_headed_models_convert_and_load_from_encoders(ids, tmp_path):
    model = tiny_model(auto_class=AutoModelForMaskedLM)
    converted = converted_copy(model, ["1x2x3", "ff:4"])
    assert isinstance(converted, BertForMaskedLM)
    converted.save_pretrained(tmp_path)
    loaded = AutoModelForMaskedLM.from_pretrained(tmp_path)
    assert torch.equal(loaded(ids).logits, converted(ids).logits)
    classifier = AutoModelForSequenceClassification.from_pretrained(tmp_path, num_labels=3)
    assert classifier(ids).logits.shape == (2, 3)
    encoder = converted.base_model(ids).last_hidden_state
    assert torch.equal(classifier.base_model(ids).last_hidden_state, encoder)


def test_a_model_without_changes_is_the_original(ids):
    model = tiny_model()
    expected = model(ids).last_hidden_state
    assert torch.equal(converted_copy(model, [None, None])(ids).last_hidden_state, expected)


def test_what_cannot_be_converted_is_named():
    with pytest.raises(ValueError, match="names 1 layers, but the model has 2"):
        converted_copy(tiny_model(), ["1x2"])
    with pytest.raises(ValueError, match="ffn='ff:4' must be a fast feedforward layer"):
        ConvertConfig("ff:4")
    with pytest.raises(ValueError, match="steps=0 must be at least 1"):
        ConvertConfig(steps=0)
    with pytest.raises(ValueError, match="gated"):
        ConvertedBlock(8, "glu:4")


def test_missing_weights_of_a_block_are_an_error(tmp_path):
    converted_copy(tiny_model(), ["1x2x3", None]).save_pretrained(tmp_path)
    weights = load_file(tmp_path / "model.safetensors")
    del weights["encoder.layer.0.intermediate.inner.w_in"]
    save_file(weights, tmp_path / "model.safetensors", {"format": "pt"})
    with pytest.raises(ValueError, match=r"lacks weights of the model: .*inner\.w_in"):
        AutoModel.from_pretrained(tmp_path)


@pytest.fixture
def texts(documents):
    return [line for document in documents for line in document.split(". ")]


def test_capture_holds_what_blocks_read_and_wrote(texts, tokenizer, tmp_path):
    model = tiny_model()
    captured = capture(model, tokenizer, texts, 500, [1], tmp_path, max_length=20)
    layer = layers_of(model, block_of(model))[1]
    x = captured[1].x.float()
    y = layer.output.dense(layer.intermediate(x))
    assert x.shape == (500, 16)
    torch.testing.assert_close(captured[1].y.float(), y, atol=0.02, rtol=0.02)
    again = capture(model, tokenizer, [], 500, [1], tmp_path)
    assert torch.equal(again[1].x, captured[1].x)


def test_capture_stops_models_after_the_last_block_wanted(texts, tokenizer, tmp_path):
    model, runs = tiny_model(), Counter()
    for number, layer in enumerate(layers_of(model, block_of(model))):
        layer.register_forward_pre_hook(lambda *_, number=number: runs.update([number]))
    capture(model, tokenizer, 10 * texts, 4000, [0], tmp_path, max_length=20)
    assert runs[1] == 1 < runs[0]  # the first batch shows that blocks are run once


def test_capture_holds_all_runs_of_a_block_that_layers_share(texts, tokenizer, tmp_path):
    model = tiny_model("albert")
    texts, block = 10 * texts, block_of(model)
    captured = capture(model, tokenizer, texts, 4000, [0], tmp_path, max_length=20)[0]
    batches = batches_of(tokenizer, texts, 20)
    every = torch.cat([run_tapped(model, block, [0], batch)[0].x for batch in batches])
    assert torch.equal(captured.x, every[:4000].bfloat16())


def test_capture_says_what_is_missing(texts, tokenizer, tmp_path):
    with pytest.raises(
        ValueError, match=r"the train text has .* tokens in 3 pieces, but 50,000 are"
    ):
        capture(tiny_model(), tokenizer, texts[:3], 50_000, [0], tmp_path / "train")
    with pytest.raises(ValueError, match="GiB are free; capture fewer tokens"):
        capture(tiny_model(), tokenizer, texts, 10**13, [0], tmp_path)


def regression_problem(layer, n_tokens=20_000):
    """Inputs, and what a layer makes of them."""
    x = torch.randn(n_tokens, layer.hidden_size, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        return Captured(x, layer(x))


def test_scaling_is_folded_into_the_weights():
    for ffn in ("2x2x3", "ff:5", "none"):
        block = ConvertedBlock(4, ffn)
        torch.nn.init.normal_(block.bias)
        scaling = Scaling(torch.randn(4), torch.tensor(2.5), torch.randn(4), torch.rand(4))
        x = torch.randn(50, 4)
        scaled, _ = scaling.apply(x, x)
        expected = block(scaled) * scaling.y_scale + scaling.y_mean
        scaling.fold_(block)
        torch.testing.assert_close(block(x), expected, atol=1e-4, rtol=1e-4)
        scaling.unfold_(block)
        again = block(scaled) * scaling.y_scale + scaling.y_mean
        torch.testing.assert_close(again, expected, atol=1e-4, rtol=1e-4)


def test_hyperplanes_halve_the_tokens():
    layer = FastFeedForward(6, depth=3, n_trees=2)
    x = torch.randn(8000, 6) * torch.tensor([1.0, 2, 3, 4, 5, 6]) + 3
    for split in ("principal", "random"):
        set_hyperplanes(layer, x, split, seed=0)
        for leaves in layer.visited_leaves(x).T:
            assert (leaves.bincount(minlength=8) - 1000).abs().max() < 50
    few = torch.randn(3, 6)
    set_hyperplanes(layer, few, "principal", seed=0)
    assert layer.w_in.isfinite().all()
    with pytest.raises(ValueError, match="split='other'"):
        set_hyperplanes(layer, x, "other", seed=0)


def test_leaf_errors_are_those_of_other_leaves():
    layer = FastFeedForward(5, depth=2, n_trees=2, leaf_size=3)
    x, y = torch.randn(20, 5), torch.randn(20, 5)
    residual = y - layer(x)
    leaf = layer.visited_leaves(x)[:, 1]
    errors = leaf_errors(layer, 1, x, residual, leaf)  # up to a constant for each token
    blocks = layer.w_in[1, 3:].view(4, 3, 5), layer.b_in[1, 3:].view(4, 3)
    hidden = torch.nn.functional.gelu(torch.einsum("th,nlh->tnl", x, blocks[0]) + blocks[1])
    outputs = torch.einsum("tnl,nlo->tno", hidden, layer.w_out[1, 3:].view(4, 3, 5))
    own = outputs[torch.arange(20), leaf]
    exact = (residual[:, None] + own[:, None] - outputs).square().mean(-1)
    difference = exact - errors
    torch.testing.assert_close(difference, difference[:, :1].expand_as(difference))


def test_decision_loss_pulls_to_the_better_child():
    logits = torch.tensor([[0.5, -1.0, 2.0]], requires_grad=True)
    errors = torch.tensor([[3.0, 1.0, 5.0, 2.0]])
    visited = torch.tensor([[1.0, 0.0, 1.0]])
    decision_loss(logits, errors, visited).backward()
    # Below, the left child leads to its left leaf (3), the right one to its right leaf (2).
    expected = [
        -1 * (1 - torch.sigmoid(torch.tensor(0.5))),
        0.0,
        -3 * torch.sigmoid(torch.tensor(-2.0)),
    ]
    torch.testing.assert_close(logits.grad[0], torch.tensor(expected))


def test_learned_hyperplanes_beat_those_from_the_inputs():
    torch.manual_seed(0)
    target = FastFeedForward(8, depth=2, leaf_size=4)
    data = regression_problem(target)
    config = RegressionConfig(steps=300, batch_tokens=512)
    errors = {}
    for name, rate in (("held", 0.0), ("learned", config.routing_learning_rate)):
        block = ConvertedBlock(8, "1x2x4")
        regress(block, data, dataclasses.replace(config, routing_learning_rate=rate))
        errors[name] = unexplained(block, data)
    assert errors["learned"] < errors["held"] < 0.9


def test_regression_is_reproducible_and_ends_near_a_layer_that_fits():
    torch.manual_seed(0)
    target = FastFeedForward(8, depth=0, leaf_size=2)
    data = regression_problem(target)
    results = []
    for _ in range(2):
        block = ConvertedBlock(8, "ff:8")
        regress(block, data, RegressionConfig(steps=200, batch_tokens=512, learning_rate=2e-2))
        results.append(block)
    assert unexplained(results[0], data) < 0.02
    assert torch.equal(results[0].inner.dense_in.weight, results[1].inner.dense_in.weight)
    mean = ConvertedBlock(8, "none")
    regress(mean, data, RegressionConfig())
    assert unexplained(mean, data) == pytest.approx(1.0, abs=0.01)
    shifted = data._replace(y=data.y + 5)
    regress(mean, shifted, RegressionConfig(), is_new=False)
    assert unexplained(mean, shifted) == pytest.approx(1.0, abs=0.01)


@pytest.mark.parametrize(("model_type", "has_norm"), [("bert", True), ("modernbert", False)])
def test_outputs_in_sequence_make_up_for_drift(model_type, has_norm, texts, tokenizer, tmp_path):
    model = tiny_model(model_type)
    block = block_of(model)
    original = capture(model, tokenizer, texts, 500, [1], tmp_path / "original")[1]
    student = converted_copy(model, ["1x2x3", "1x2x3"])
    size, batch = model.config.hidden_size, next(batches_of(tokenizer, texts, 20))
    norm = norms_after(model, block, [1], size, batch)[1]
    assert (norm is not None) == has_norm
    captured = capture_in_sequence(
        student, tokenizer, texts, 1, original, norm, tmp_path / "student", 128, print, block
    )
    x, y = (part.float() for part in captured)
    assert not torch.equal(captured.x, original.x)
    wanted = original.x.float() + original.y.float() - x if has_norm else original.y.float()
    torch.testing.assert_close(y, wanted, atol=0.02, rtol=0.02)


def test_models_are_nearer_to_the_original_in_sequence(dense_folder, text_file, tmp_path):
    errors = []
    for steps, again in ((400, 0), (200, 200)):
        config = dataclasses.replace(
            SMALL, steps=steps, in_sequence_steps=again, controls=False, end_to_end_steps=0
        )
        rows = convert(dense_folder, tmp_path / f"{steps}{again}", text_file, config)
        (error,) = (
            row["unexplained_states"]
            for row in rows
            if row.get("model") == "fff" and row["kind"] == "convert"
        )
        errors.append(error)
    assert errors[1] < errors[0]


def test_what_a_norm_takes_back_does_not_hide_the_rest():
    torch.manual_seed(0)
    norm = torch.nn.LayerNorm(8)
    x, y = regression_problem(FastFeedForward(8, depth=0, leaf_size=2))
    huge = x[:, 0] > 1.5  # few tokens, with one component above all others
    y[huge, 3] = 1000 + 100 * torch.randn(huge.sum())
    data = Captured(x, y)
    config = RegressionConfig(steps=300, batch_tokens=512, learning_rate=2e-2)
    errors = {}
    for name, each in (("none", None), ("norm", norm)):
        block = ConvertedBlock(8, "1x2x4")
        regress(block, data, config, norm=each)
        errors[name] = unexplained(block, data, norm)
    assert errors["norm"] < 0.7 * errors["none"]
    mean = ConvertedBlock(8, "none")
    with torch.no_grad():
        mean.bias.copy_(y.mean(0))
    assert unexplained(mean, data, norm) == pytest.approx(1.0)


@pytest.fixture
def dense_folder(tokenizer, tmp_path):
    folder = tmp_path / "dense"
    model = tiny_model()
    with torch.no_grad():  # blocks that matter: weights of random models are tiny
        for layer in model.encoder.layer:
            layer.intermediate.dense.weight.mul_(20)
            layer.output.dense.weight.mul_(20)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    (folder / "1_Pooling").mkdir()
    (folder / "1_Pooling" / "config.json").write_text('{"pooling_mode_mean_tokens": true}')
    (folder / "pytorch_model.bin").write_bytes(b"weights of the original")
    return folder


@pytest.fixture
def text_file(documents, tmp_path):
    path = tmp_path / "text.txt"
    path.write_text("\n\n".join(document.replace(". ", ".\n") for document in documents))
    return path


@pytest.fixture
def stsb(documents, tmp_path):
    sentences = [line for document in documents for line in document.split(". ")]
    folder = tmp_path / "glue" / "stsb"
    folder.mkdir(parents=True)
    for split in ("train", "validation"):
        pairs = zip(sentences[:20], sentences[20:40], strict=True)
        rows = [
            {"sentence1": a, "sentence2": b, "label": i % 5.0} for i, (a, b) in enumerate(pairs)
        ]
        lines = "".join(json.dumps(row) + "\n" for row in rows)
        (folder / f"{split}.jsonl").write_text(lines)
    return folder.parent


@pytest.fixture(autouse=True)
def short_timing(monkeypatch):
    monkeypatch.setattr(timing, "TURN_SECONDS", 1e-3)
    short = partial(time_equal_width, seconds=0.0)
    monkeypatch.setattr(conversion, "time_equal_width", short)


SMALL = ConvertConfig(
    "1x2x3",
    tokens=2000,
    steps=20,
    batch_tokens=64,
    in_sequence_steps=4,
    end_to_end_steps=3,
    end_to_end_tokens=2000,
)


def test_convert_makes_a_model_and_its_controls(dense_folder, text_file, stsb, ids, tmp_path):
    out = tmp_path / "out"
    said = []
    rows = convert(
        dense_folder, out, text_file, SMALL, stsb, on_status=lambda *said_: said.append(said_)
    )
    assert ("layer 0: 1x2x3 (fff, seed 0)", 20, 20) in said
    layers = [row for row in rows if row["kind"] == "convert_layer"]
    assert [(row["layer"], row["model"]) for row in layers[:5]] == [
        (0, name) for name in ("fff", "random", "ff_active", "ff_time", "none")
    ]
    (timed,) = (row for row in rows if row["kind"] == "convert_time")
    dense = f"ff:{timed['width']}"
    assert [row["ffn"] for row in layers[5:]] == ["1x2x3", "1x2x3", "ff:5", dense, "none"]
    models = {row["model"]: row for row in rows if row["kind"] == "convert"}
    assert set(models) == {"fff", "random", "ff_active", "ff_time", "none", "teacher"}
    before = {row["model"]: row for row in rows if row["kind"] == "convert_layerwise"}
    assert set(before) == set(models) - {"teacher"}
    for name, row in before.items():  # the error that training end to end begins with
        assert row["unexplained_states"] > models[name]["unexplained_states"]
    assert layers[0]["unexplained"] < layers[4]["unexplained"]
    assert all(-100 <= row["stsb_validation_spearman"] <= 100 for row in models.values())
    for folder in (out, out / "controls" / "ff_active"):
        assert AutoModel.from_pretrained(folder)(ids).last_hidden_state.isfinite().all()
        assert (folder / "1_Pooling" / "config.json").exists()
        assert not (folder / "pytorch_model.bin").exists()
    assert not (out / "work").exists()
    assert convert(dense_folder, out, text_file, SMALL, stsb, resume=True) == rows
    with pytest.raises(FileExistsError, match="--resume"):
        convert(dense_folder, out, text_file, SMALL, stsb)
    other = dataclasses.replace(SMALL, seeds=(1,))
    with pytest.raises(ValueError, match="differs in seeds"):
        convert(dense_folder, out, text_file, other, stsb, resume=True)


def test_the_dense_layer_of_equal_time_is_timed_once(
    dense_folder, text_file, tmp_path, monkeypatch
):
    def interrupt(what, done, total):
        if what.startswith("layer 1"):
            raise KeyboardInterrupt

    def again(*args, **options):
        raise AssertionError("timed again")

    out = tmp_path / "out"
    with pytest.raises(KeyboardInterrupt):
        convert(dense_folder, out, text_file, SMALL, on_status=interrupt)
    monkeypatch.setattr(conversion, "time_equal_width", again)
    rows = convert(dense_folder, out, text_file, SMALL, resume=True)
    assert len({row["ffn"] for row in rows if row.get("model") == "ff_time"}) == 1


def test_a_dense_layer_of_equal_time_is_never_narrower_than_the_path():
    row = time_equal_width(16, "1x2x9", seconds=0.0)
    assert (row["kind"], row["n_active"]) == ("convert_time", 11)
    assert [case["n_tokens"] for case in row["measured"]] == [128, 4096]
    assert row["width"] == max(case["width"] for case in row["measured"])
    for case in row["measured"]:
        assert case["timed"][0]["width"] == 16
        assert case["width"] % 8 == 0
        assert case["width"] >= 16
        assert all(us > 0 for timed in case["timed"] for us in timed["us_per_token"].values())


@pytest.mark.parametrize("narrowest", [8, 16, 48])
@pytest.mark.parametrize("last", [0, 8, 16, 40, 56, 1000])
def test_the_widest_that_keeps_up_is_found(narrowest, last):
    asked = []

    def keeps_up(width):
        asked.append(width)
        return width <= last

    expected = max(narrowest, last // 8 * 8)
    assert widest(keeps_up, narrowest) == expected
    assert len(asked) == len(set(asked))
    assert set(width % 8 for width in asked) == {0}


def test_several_seeds_and_tasks(dense_folder, text_file, stsb, tmp_path):
    config = dataclasses.replace(SMALL, seeds=(3, 5), tasks=("stsb",), end_to_end_steps=1)
    rows = convert(dense_folder, tmp_path / "out", text_file, config, stsb)
    layers = [row for row in rows if row["kind"] == "convert_layer"]
    assert len(layers) == 2 * 2 * 5
    errors = {
        row["seed"]: row["unexplained"]
        for row in layers
        if row["layer"] == 0 and row["model"] == "fff"
    }
    assert errors[3] != errors[5]
    tuned = {(row["model"], row["seed"]) for row in rows if row["kind"] == "convert_task"}
    models = ("fff", "random", "ff_active", "ff_time", "none", "teacher")
    assert tuned == set(itertools.product(models, (3, 5)))
    table = convert_table(rows)
    assert "| fast feedforward (1x2x3) | 5 | " in table
    assert " ± " in table
    assert "| the original | - | " in convert_task_table(rows)
    with pytest.raises(ValueError, match="need glue_dir"):
        convert(dense_folder, tmp_path / "other", text_file, config)


def test_targets_are_what_the_model_makes_of_texts(texts, tokenizer, tmp_path):
    model = tiny_model()
    made = capture_targets(model, tokenizer, texts, 500, tmp_path / "targets", max_length=20)
    assert 400 < made.starts[-1] <= 500
    batches = made.batches(7, 64, seed=0)
    assert len(batches) == 7
    seen = made.batches(1000, 64, seed=0)
    assert set(itertools.chain(*seen)) == set(range(len(made.starts) - 1))
    for texts_of_batch in batches:
        batch = made.batch(texts_of_batch, pad_token_id=0)
        assert batch["input_ids"].numel() <= 64
        keep = batch["attention_mask"].bool()
        hidden = model(
            batch["input_ids"], batch["attention_mask"], output_hidden_states=True
        ).hidden_states
        expected = torch.stack([hidden[layer] for layer in made.layers], 2)[keep]
        torch.testing.assert_close(batch["targets"][keep], expected, atol=0.05, rtol=0.05)
    with pytest.raises(ValueError, match="no text has 2 tokens or fewer"):
        capture_targets(model, tokenizer, texts, 2, tmp_path / "few")


@pytest.fixture
def typed_tokenizer(tokenizer):
    """A tokenizer that gives token types, as BERT's does."""
    typed = copy.deepcopy(tokenizer)
    typed.model_input_names = [*tokenizer.model_input_names, "token_type_ids"]
    return typed


def test_pairs_and_single_texts_share_batches(typed_tokenizer):
    texts = ["the small tree", ("a leaf", "the deep node finds the path"), "a leaf"]
    (batch,) = batches_of(typed_tokenizer, texts, max_length=8)
    order = ["a leaf", "the small tree", texts[1]]  # of both parts' length
    for row, text in enumerate(order):
        parts = (text,) if isinstance(text, str) else text
        alone = typed_tokenizer(*parts, truncation=True, max_length=8, padding="max_length")
        assert {name: batch[name][row].tolist() for name in batch} == dict(alone)
    a, leaf, sep = typed_tokenizer.convert_tokens_to_ids(["a", "leaf", "[SEP]"])
    assert batch["input_ids"][2, 1:4].tolist() == [a, leaf, sep]  # the longer part is cut
    assert batch["token_type_ids"].tolist() == [[0] * 8, [0] * 8, [0] * 4 + [1] * 4]


def test_pairs_in_the_format_of_other_tokenizers():
    tokens = ["<s>", "<pad>", "</s>", "<unk>", "<mask>", *"abcd"]
    roberta = RobertaTokenizer(vocab={token: i for i, token in enumerate(tokens)}, merges=[])
    (batch,) = batches_of(roberta, [("a", "bcd"), "ab"], max_length=7)
    assert batch["input_ids"].tolist() == [[0, 5, 6, 2, 1, 1, 1], [0, 5, 2, 2, 6, 7, 2]]
    assert "token_type_ids" not in batch
    in_python = CanineTokenizer()
    (batch,) = batches_of(in_python, [("a", "bcd"), "ab"], max_length=7)
    cls, sep = in_python.cls_token_id, in_python.sep_token_id
    assert batch["input_ids"][1].tolist() == [cls, *map(ord, "a"), sep, *map(ord, "bcd"), sep]
    assert batch["attention_mask"].sum(1).tolist() == [4, 7]


def test_targets_of_pairs_are_those_of_the_encoded_pair(typed_tokenizer, tmp_path):
    model, pair = tiny_model(), ("a leaf finds the node.", "The small tree skips the path.")
    made = capture_targets(model, typed_tokenizer, [pair], 50, tmp_path)
    encoded = typed_tokenizer(*pair, return_tensors="pt")
    batch = made.batch([0], pad_token_id=0)
    targets = batch.pop("targets")
    assert batch["token_type_ids"].unique().tolist() == [0, 1]
    assert batch.keys() == encoded.keys()
    assert all(torch.equal(batch[name], encoded[name]) for name in batch)
    expected = model(**encoded).last_hidden_state
    torch.testing.assert_close(targets[:, :, -1], expected, atol=0.02, rtol=0.02)
    without_types = model(encoded["input_ids"]).last_hidden_state
    assert (targets[:, :, -1] - without_types).abs().max() > 0.05


def test_targets_take_the_disk_that_was_said(texts, tokenizer, typed_tokenizer, tmp_path):
    for each, bytes_ in ((tokenizer, 4), (typed_tokenizer, 5)):
        folder = tmp_path / str(bytes_)
        capture_targets(tiny_model(), each, texts, 500, folder)
        size = sum(
            path.stat().st_size for path in folder.iterdir() if path.suffix != ".safetensors"
        )
        assert size == disk_bytes(500, 16, 2, each) == 500 * (2 * 2 * 16 + bytes_)


def test_targets_without_all_inputs_are_made_anew(texts, tokenizer, typed_tokenizer, tmp_path):
    pairs = list(itertools.pairwise(texts))
    capture_targets(tiny_model(), tokenizer, texts, 500, tmp_path)
    made = capture_targets(tiny_model(), typed_tokenizer, pairs, 500, tmp_path)
    assert made.inputs["token_type_ids"].any()
    again = capture_targets(tiny_model(), typed_tokenizer, [], 500, tmp_path)
    assert all(torch.equal(again.inputs[name], made.inputs[name]) for name in made.inputs)


@pytest.mark.parametrize("model_type", ["bert", "roberta", "distilbert", "modernbert"])
def test_models_learn_from_pairs(model_type, texts, tokenizer, typed_tokenizer, tmp_path):
    pairs, model = [*itertools.pairwise(texts[:40]), *texts[:20]], tiny_model(model_type)
    has_types = model_type == "bert"
    each = typed_tokenizer if has_types else tokenizer
    made = capture_targets(model, each, pairs, 2000, tmp_path / "targets")
    assert ("token_type_ids" in made.inputs) == has_types
    assert distance(model, made)["unexplained_states"] < 1e-3
    student = converted_copy(model, ["1x2x3", "none"])
    before = distance(student, made)["unexplained_states"]
    config = end_to_end.EndToEndConfig(steps=20, batch_tokens=256)
    end_to_end.distill_end_to_end(student, made, config, tmp_path / "checkpoints")
    assert distance(student, made)["unexplained_states"] < before


def test_convert_reads_pairs(dense_folder, typed_tokenizer, documents, ids, tmp_path):
    typed_tokenizer.save_pretrained(dense_folder)
    path = tmp_path / "paragraphs.txt"
    path.write_text("\n\n".join(documents))
    out, config = tmp_path / "out", dataclasses.replace(SMALL, controls=False)
    rows = convert(dense_folder, out, path, config)
    models = {row["model"]: row for row in rows if row["kind"] == "convert"}
    assert models["teacher"]["unexplained_states"] < 1e-3
    assert AutoModel.from_pretrained(out)(ids).last_hidden_state.isfinite().all()


def test_less_text_than_wanted_is_measured_as_it_is(texts, tokenizer, tmp_path):
    model = tiny_model()
    made = capture_targets(model, tokenizer, texts[:20], 5000, tmp_path)
    assert len(made.inputs["input_ids"]) == len(made.states) == made.starts[-1] < 500
    variance = made.states_variance
    torch.testing.assert_close(variance, made.states.float().var(0).mean(1))
    assert distance(model, made)["unexplained_states"] < 1e-3


def test_a_single_long_document_has_parts_to_hold_out(tmp_path):
    path = tmp_path / "long.txt"
    path.write_text("\n".join(f"line {i}" for i in range(4000)))
    held_out, others = texts_of(path, True), texts_of(path, False)
    assert len(held_out) == 200
    assert len(others) == 3800
    assert not set(held_out) & set(others)


def test_layers_learned_end_with_the_last():
    assert [layers_learned(n) for n in (1, 2, 6, 12)] == [[1], [1, 2], [2, 4, 6], [4, 8, 12]]


def joined(text):
    return text if isinstance(text, str) else " ".join(text)


def n_sentences(text):
    return text.count(".")


def test_half_of_the_pieces_of_several_sentences_are_pairs(documents):
    cut = list(pieces(documents))
    assert " ".join(map(joined, cut)) == " ".join(documents)
    pairs = [piece for piece in cut if isinstance(piece, tuple)]
    several = [piece for piece in cut if n_sentences(joined(piece)) > 1]
    assert 0.4 < len(pairs) / len(several) < 0.6
    assert {tuple(map(n_sentences, pair)) for pair in pairs} == {(1, 1), (1, 2), (2, 2)}
    assert list(pieces(documents)) == cut
    alone = [sentence for document in documents for sentence in document.split(". ")]
    assert list(pieces(alone)) == alone


def test_texts_are_a_shuffled_sample_of_pieces():
    cut = list(pieces(["One. Two! Three? Four. ", "Five"]))
    assert " ".join(map(joined, cut)) == "One. Two! Three? Four. Five"
    assert len(cut) > 2
    items = [str(i) for i in range(100)]
    drawn = sample(items, 50)
    assert len(set(drawn)) == 50
    assert drawn != sorted(drawn, key=int)
    assert set(sample(items)) == set(items)


@pytest.mark.parametrize(
    ("layers", "size", "share"), [(2, 16, 1.0), (6, 384, 1.0), (12, 768, 0.25)]
)
def test_larger_models_learn_at_smaller_rates(layers, size, share):
    config = transformers.BertConfig(num_hidden_layers=layers, hidden_size=size)
    assert end_to_end.size_share(config) == share


def test_trees_dense_blocks_and_old_weights_learn_at_their_rates(texts, tokenizer, tmp_path):
    original = tiny_model()
    made = capture_targets(original, tokenizer, texts, 500, tmp_path / "targets")
    student = converted_copy(original, ["1x2x3", "ff:4"])
    rates = {"block_learning_rate": 1.0, "dense_learning_rate": 2.0, "learning_rate": 3.0}
    config = end_to_end.EndToEndConfig(**rates)
    trainer = end_to_end.EndToEndTrainer(student, made, config, tmp_path / "run", print)
    groups = trainer.create_optimizer().param_groups
    rate_of = {id(weight): group["lr"] for group in groups for weight in group["params"]}
    found = {name: rate_of[id(weight)] for name, weight in student.named_parameters()}
    first, second = (
        {rate for name, rate in found.items() if f"layer.{number}.intermediate" in name}
        for number in (0, 1)
    )
    assert (first, second) == ({1.0}, {2.0})
    assert {rate for name, rate in found.items() if ".intermediate" not in name} == {3.0}


def test_an_interrupted_conversion_goes_on(dense_folder, text_file, tmp_path, monkeypatch):
    config = dataclasses.replace(SMALL, controls=False, end_to_end_steps=6)

    def interrupt(what, done, total):
        if what.startswith("layer 1:"):
            raise KeyboardInterrupt

    def interrupt_in_sequence(what, done, total):
        if what.startswith("layer 1 in sequence"):
            raise KeyboardInterrupt

    def interrupt_later(what, done, total):
        if what.startswith("end to end") and done == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        convert(dense_folder, tmp_path / "a", text_file, config, on_status=interrupt)
    with pytest.raises(KeyboardInterrupt):
        convert(
            dense_folder,
            tmp_path / "a",
            text_file,
            config,
            resume=True,
            on_status=interrupt_in_sequence,
        )
    monkeypatch.setattr(resumable, "SAVE_SECONDS", 0.0)
    monkeypatch.setattr(end_to_end, "LOGGING_STEPS", 1)
    with pytest.raises(KeyboardInterrupt):
        convert(
            dense_folder, tmp_path / "a", text_file, config, resume=True, on_status=interrupt_later
        )
    resumed = convert(dense_folder, tmp_path / "a", text_file, config, resume=True)
    straight = convert(dense_folder, tmp_path / "b", text_file, config)
    assert [row.get("unexplained") for row in resumed] == [
        row.get("unexplained") for row in straight
    ]
    curves = [
        [(row["step"], row["unexplained_states"]) for row in rows if row["kind"] == "convert_curve"]
        for rows in (resumed, straight)
    ]
    assert curves[0] == curves[1]
    assert [step for step, _ in curves[0]] == list(range(7))
    models = [AutoModel.from_pretrained(tmp_path / name).state_dict() for name in "ab"]
    assert all(torch.equal(models[0][name], models[1][name]) for name in models[0])


@pytest.mark.parametrize("model_type", ["bert", "roberta", "distilbert", "electra", "modernbert"])
def test_a_classifier_keeps_what_it_says_of_texts(model_type, texts, tokenizer, tmp_path):
    original = tiny_model(model_type, AutoModelForSequenceClassification)
    made = capture_targets(original, tokenizer, texts, 2000, tmp_path / "targets")
    batch = made.batch([3, 1, 4], pad_token_id=0)
    inputs = {name: batch[name] for name in ("input_ids", "attention_mask")}
    torch.testing.assert_close(batch["logits"], original(**inputs).logits, atol=0.02, rtol=0.02)
    same = distance(original, made)
    assert same["unexplained_logits"] < 0.05
    assert same["same_class"] > 0.9
    student = converted_copy(original, ["1x2x3", "none"])
    before = distance(student, made)
    config = end_to_end.EndToEndConfig(steps=30, batch_tokens=256)
    curve = end_to_end.distill_end_to_end(student, made, config, tmp_path / "run", held_out=made)
    assert list(curve) == list(range(0, 31, 3))
    after = distance(student, made)
    assert curve[30]["unexplained_logits"] < curve[0]["unexplained_logits"]
    assert after["unexplained_logits"] < before["unexplained_logits"]
    heads = [model.get_parameter(HEADS[model_type]) for model in (original, student)]
    assert not torch.equal(*heads)


def test_targets_of_a_headless_model_are_not_enough_for_a_head(texts, tokenizer, tmp_path):
    model = tiny_model(auto_class=AutoModelForSequenceClassification)
    assert capture_targets(model.base_model, tokenizer, texts, 500, tmp_path).logits is None
    made = capture_targets(model, tokenizer, texts, 500, tmp_path)
    assert made.logits.shape == (len(made.starts) - 1, 2)


def test_some_layers_convert_alone(dense_folder, text_file, tmp_path):
    config = dataclasses.replace(SMALL, controls=False, layers=(1,))
    convert(dense_folder, tmp_path / "out", text_file, config)
    assert AutoModel.from_pretrained(tmp_path / "out").config.ffn == [None, "1x2x3"]
    config = dataclasses.replace(config, layers=(2,))
    with pytest.raises(ValueError, match="layer 2 is not there: the model has layers 0 to 1"):
        convert(dense_folder, tmp_path / "other", text_file, config)


def test_sentence_transformers_load_a_converted_model(dense_folder, text_file, tmp_path):
    st = pytest.importorskip("sentence_transformers")
    dense = tmp_path / "sentences"
    st.SentenceTransformer(str(dense_folder), device="cpu").save(str(dense))
    convert(dense, tmp_path / "out", text_file, dataclasses.replace(SMALL, controls=False))
    model = st.SentenceTransformer(str(tmp_path / "out"), device="cpu")
    assert type(model[0].auto_model).__name__ == "ConvertedBertModel"
    assert [type(module).__name__ for module in model] == ["Transformer", "Pooling"]
    assert model.encode(["the small tree", "a leaf"]).shape == (2, 16)


def test_what_was_stored_in_low_precision_is_trained_in_float32(dense_folder, tmp_path):
    AutoModel.from_pretrained(dense_folder).half().save_pretrained(tmp_path / "half")
    model = load_dense(tmp_path / "half")
    assert {parameter.dtype for parameter in model.parameters()} == {torch.float32}
    assert converted_copy(model, [None, "1x2x3"]).config.dtype == torch.float32


def test_modules_after_the_model_keep_their_weights(dense_folder, tmp_path):
    st = pytest.importorskip("sentence_transformers")
    dense = st.SentenceTransformer(str(dense_folder), device="cpu")
    dense.append(st.sentence_transformer.modules.Dense(16, 4))
    dense.save(str(tmp_path / "dense"))
    model = converted_copy(load_dense(tmp_path / "dense"), [None, "1x2x3"])
    save_converted(model, tmp_path / "dense", tmp_path / "out")
    loaded = st.SentenceTransformer(str(tmp_path / "out"), device="cpu")
    assert torch.equal(loaded[2].linear.weight, dense[2].linear.weight)
    assert loaded.encode(["the small tree"]).shape == (1, 4)


def test_the_command_converts_and_prints_tables(
    dense_folder, text_file, stsb, tmp_path, monkeypatch, capsys
):
    sizes = ["--ffn", "1x2x3", "--tokens", "2000", "--steps", "5", "--end-to-end-steps", "1"]
    sizes += ["--dense-widths", "8,16", "--ablations", "--in-sequence-steps", "2"]
    command = ["convert", dense_folder, tmp_path / "out", "--text", text_file, "--glue-dir", stsb]
    monkeypatch.setattr(sys, "argv", ["ultrafastbert", *map(str, command), *sizes])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    captured = capsys.readouterr()
    assert not ended.value.code, captured.err
    lines = captured.out.splitlines()
    title = "FVU behind the layer's norm, %"
    assert lines[0].startswith("**dense, 1x2x3, 5 training steps a layer, ")
    assert lines[2].startswith(f"| {title} | neurons used | layer 0 |")
    assert any(line.startswith("| dense, as wide as the active neurons (ff:5)") for line in lines)
    assert any(line.startswith("| dense (ff:8) | 8 | ") for line in lines)
    assert any(line.startswith("| the same with fixed principal splits (1x2x3)") for line in lines)
    assert any(line.startswith("| that width over the neurons used |") for line in lines)
    assert any(line.startswith("| the original | - | ") for line in lines)


def test_equal_width_is_between_those_of_known_errors():
    errors = {8: 0.4, 16: 0.3, 64: 0.1}
    assert equal_width(0.3, errors) == (pytest.approx(16), False)
    assert equal_width(0.2, errors) == (pytest.approx(32), False)
    assert equal_width(0.05, errors) == (64, True)
    assert equal_width(0.5, errors) == (8, False)
