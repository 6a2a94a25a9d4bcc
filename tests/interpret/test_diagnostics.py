"""Diagnosing models: what is counted is there, and what is predicted of a layer holds."""

import json

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tiny_models import tiny
from transformers import (
    AlbertConfig,
    AlbertModel,
    BertConfig,
    BertForMaskedLM,
    BertModel,
    FNetConfig,
    FNetModel,
    LongformerConfig,
    LongformerModel,
)

from ultrafastbert import UltraFastBertForMaskedLM, rows
from ultrafastbert.distill import ConvertConfig, DiagnoseConfig, convert, diagnose
from ultrafastbert.distill.clusterability import RIDGE, clusterability, linear_map
from ultrafastbert.distill.teacher.capture import Captured
from ultrafastbert.fff.tree import Family
from ultrafastbert.interpret.usage import leaf_usage, purity, top_regions, usage_rows
from ultrafastbert.interpret.visits import trees_of, visits
from ultrafastbert.models.converted.model import converted_copy
from ultrafastbert.report.usage_figures import draw_diagnosis
from ultrafastbert.report.usage_tables import clusterability_table, region_table, usage_table
from ultrafastbert.rows.usage import ConvertLayerUsageRow, Region


def tiny_bert(model_class=BertModel):
    torch.manual_seed(0)
    sizes = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2}
    return model_class(BertConfig(vocab_size=200, intermediate_size=32, **sizes)).eval()


@pytest.fixture
def texts(documents):
    return [sentence for document in documents[:20] for sentence in document.split(". ")]


@pytest.fixture
def text_file(documents, tmp_path):
    path = tmp_path / "text.txt"
    path.write_text("\n\n".join(documents))
    return path


def saved(model, tokenizer, folder):
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def test_leaf_usage_of_known_counts():
    even = leaf_usage(torch.full((8,), 5))
    assert even["entropy_bits"] == pytest.approx(3)
    assert even["effective_leaves"] == pytest.approx(8)
    assert (even["n_dead"], even["n_overfull"], even["overfull_share"]) == (0, 0, 0)
    uneven = leaf_usage(torch.tensor([6, 0, 1, 0, 1, 0, 0, 0]))
    assert (uneven["n_leaves"], uneven["n_visited"], uneven["n_dead"]) == (8, 3, 5)
    assert (uneven["n_overfull"], uneven["overfull_share"]) == (1, 0.75)


@given(st.lists(st.integers(0, 1000), min_size=1, max_size=64).filter(any))
def test_effective_leaves_are_at_most_those_visited(counts):
    usage = leaf_usage(torch.tensor(counts))
    assert 1 - 1e-9 <= usage["effective_leaves"] <= usage["n_visited"] + 1e-9
    assert 0 <= usage["overfull_share"] <= 1


def test_purity_is_one_for_functions_and_zero_by_chance():
    generator = torch.Generator().manual_seed(0)
    label = torch.randint(0, 100, (5000,), generator=generator)
    assert purity(label % 8, label) == pytest.approx(1)
    chance = torch.randint(0, 8, (5000,), generator=generator)
    assert abs(purity(chance, label)) < 0.02


def test_top_regions_are_those_of_most_tokens(tokenizer):
    the, tree = tokenizer.convert_tokens_to_ids(["the", "tree"])
    leaf, ids = torch.tensor([3, 3, 3, 1]), torch.tensor([the, tree, the, tree])
    first, second = top_regions(leaf, ids, leaf.bincount(minlength=4), tokenizer)
    assert (first.leaf, first.share) == (3, 0.75)
    assert first.tokens == (("the", pytest.approx(2 / 3)), ("tree", pytest.approx(1 / 3)))
    assert (second.leaf, second.tokens) == (1, (("tree", 1.0),))


def test_visits_are_those_of_single_texts(texts, tokenizer):
    model = converted_copy(tiny_bert(), [None, "2x3x2"])
    seen = visits(model, tokenizer, texts[:3], 24)
    assert list(seen.leaves) == [1]
    assert seen.leaves[1].shape == (24, 2)
    start = 0
    for text in sorted(texts[:3], key=len)[:2]:  # batches are sorted by length
        batch = tokenizer(text, return_tensors="pt")
        part = slice(start, start := start + batch["input_ids"].numel())
        assert seen.ids[part].tolist() == batch["input_ids"][0].tolist()
        assert seen.positions[part].tolist() == list(range(part.stop - part.start))
        alone = visits(model, tokenizer, [text], part.stop - part.start)
        assert torch.equal(seen.leaves[1][part], alone.leaves[1])
    with pytest.raises(ValueError, match=r"the text has \d+ tokens, but 5,000 are wanted"):
        visits(model, tokenizer, texts[:3], 5000)


def test_pairs_are_visited(tokenizer):
    model = converted_copy(tiny_bert(), [None, "2x3x2"])
    pair = ("the small tree", "a leaf finds the node")
    expected = tokenizer(*pair)["input_ids"]
    seen = visits(model, tokenizer, [pair], len(expected))
    assert seen.ids.tolist() == expected
    assert seen.positions.tolist() == list(range(len(expected)))


def test_models_that_pad_or_share_layers_are_visited(texts, tokenizer):
    sizes = {"vocab_size": len(tokenizer), "hidden_size": 16, "num_attention_heads": 2}
    sizes |= {"intermediate_size": 32, "num_hidden_layers": 2, "embedding_size": 16}
    model = LongformerModel(LongformerConfig(**sizes, attention_window=4)).eval()
    seen = visits(converted_copy(model, [None, "1x2"]), tokenizer, texts[:3], 24)
    assert seen.leaves[1].shape == (24, 1)
    shared = AlbertModel(AlbertConfig(**sizes, inner_group_num=2)).eval()
    converted = converted_copy(shared, ["1x2", "1x3"])
    assert [trees_of(converted)[number].depth for number in (0, 1)] == [2, 3]
    n_tokens = len(tokenizer(texts[0])["input_ids"])
    seen = visits(converted, tokenizer, texts[:1], 2 * n_tokens)  # each FF layer is run twice
    assert seen.ids[:n_tokens].tolist() == seen.ids[n_tokens:].tolist()
    assert seen.leaves[1].shape == (2 * n_tokens, 1)


def test_usage_rows_add_up(texts, tokenizer):
    model = converted_copy(tiny_bert(), ["1x2x3", "2x3"])
    found = usage_rows(model, tokenizer, texts, 500)
    assert [(row.layer, row.tree, row.ffn) for row in found] == [
        (0, 0, "1x2x3"),
        (1, 0, "2x3"),
        (1, 1, "2x3"),
    ]
    for row in found:
        assert sum(row.counts) == row.n_tokens == 500
        assert len(row.counts) == row.n_leaves == row.n_visited + row.n_dead
    assert usage_rows(converted_copy(tiny_bert(), [None, "ff:3"]), tokenizer, texts, 500) == []


def test_linear_map_is_the_best_of_its_rank():
    torch.manual_seed(0)
    x, target = torch.randn(5000, 6), torch.randn(6, 6)
    left, scales, right = torch.linalg.svd(target)
    for rank in (1, 3, 6):
        best = left[:, :rank] * scales[:rank] @ right[:rank]
        found = (1 + RIDGE) * linear_map(x, x @ target, rank)
        assert torch.linalg.matrix_rank(found) == rank
        torch.testing.assert_close(found, best, atol=0.15, rtol=0.1)


def halves(function):
    """Return inputs that vary most along their first element, and what a function makes of them."""
    x = torch.randn(4000, 8, generator=torch.Generator().manual_seed(0))
    x[:, 0] *= 4
    return [Captured(part, function(part)) for part in (x[:3000], x[3000:])]


def test_clusterability_tells_what_regions_are_good_for():
    slope = torch.randn(8, 8, generator=torch.Generator().manual_seed(1))
    bent = clusterability(*halves(lambda x: x[:, :1].sign() * (x @ slope)), Family(1, 1, 8))
    assert bent["fvu_local"] < 0.05 < 0.2 < bent["fvu_linear"]
    straight = clusterability(*halves(lambda x: x @ slope), Family(1, 1, 8))
    assert straight["fvu_linear"] < 0.02
    assert straight["fvu_region"] > 0.3
    steps = clusterability(*halves(lambda x: x[:, :1].sign() * slope[0]), Family(1, 1, 8))
    assert steps["fvu_region"] < 0.05
    single = clusterability(*halves(lambda x: x * torch.eye(8)[3]), Family(1, 1, 2))
    assert single["largest_output_share"] == pytest.approx(1)
    nothing = clusterability(*halves(torch.zeros_like), Family(1, 1, 2))
    assert nothing["fvu_local"] == nothing["fvu_dense"] == 0


def test_the_command_shows_how_leaves_are_used(text_file, tokenizer, tmp_path, run):
    converted = converted_copy(tiny_bert(BertForMaskedLM), ["1x2x3", "2x3"])
    folder = saved(converted, tokenizer, tmp_path / "model")
    out, figures = tmp_path / "rows.jsonl", tmp_path / "figures"
    command = ["diagnose", folder, "--text", text_file, "--tokens", 1000]
    code, printed, error = run(*command, "--rows", out, "--figures", figures)
    assert not code, error
    assert "| 0 (1x2x3) | " in printed
    assert "| layer 1, tree " in printed
    found = rows.read_rows(out, ConvertLayerUsageRow)
    assert [(row.model, row.layer, row.tree) for row in found] == [
        ("model", 0, 0),
        ("model", 1, 0),
        ("model", 1, 1),
    ]
    names = {path.name for path in figures.iterdir()}
    assert names == {f"layer{n}_usage.{end}" for n in (0, 1) for end in ("png", "svg")}
    code, _, error = run(*command, "--ffn", "1x4")
    assert code == 2
    assert "ffn='1x4' is for dense models" in error


def test_the_command_shows_what_would_convert(text_file, tokenizer, tmp_path, run):
    folder = saved(tiny_bert(), tokenizer, tmp_path / "dense")
    figures = tmp_path / "figures"
    command = ["diagnose", folder, "--text", text_file, "--ffn", "1x2x4"]
    code, printed, error = run(*command, "--tokens", 1000, "--figures", figures)
    assert not code, error
    assert "| layer 1 (1x2x4) | " in printed
    assert (figures / "clusterability.png").exists()
    code, _, error = run(*command, "--tokens", 20)
    assert code == 2
    assert "tokens=20 are too few for the leaves of 1x2x4: give 64 or more" in error


def test_models_trained_here_are_diagnosed(text_file, tokenizer, tmp_path):
    config = tiny(vocab_size=len(tokenizer))
    folder = saved(UltraFastBertForMaskedLM(config), tokenizer, tmp_path / "fast")
    found = diagnose(folder, text_file, DiagnoseConfig(tokens=300, max_length=16))
    assert [(row.layer, row.tree) for row in found] == [(0, 0), (0, 1), (1, 0), (1, 1)]


def test_what_cannot_be_diagnosed_is_named(text_file, tokenizer, tmp_path):
    config = tiny("ff", vocab_size=len(tokenizer))
    folder = saved(UltraFastBertForMaskedLM(config), tokenizer, tmp_path / "ff")
    options = DiagnoseConfig(tokens=300, max_length=16)
    with pytest.raises(ValueError, match="no fast feedforward layers with trees"):
        diagnose(folder, text_file, options)
    without = FNetModel(FNetConfig(hidden_size=8, num_hidden_layers=0, vocab_size=200))
    folder = saved(without, tokenizer, tmp_path / "without")
    with pytest.raises(ValueError, match="its feedforward layers are in no known place"):
        diagnose(folder, text_file)
    folder = saved(tiny_bert(), tokenizer, tmp_path / "bert")
    with pytest.raises(ValueError, match="max_length=513 must be at most 512"):
        diagnose(folder, text_file, DiagnoseConfig("1x2", max_length=513))
    with pytest.raises(ValueError, match="ffn='1x0x8' has no tree"):
        DiagnoseConfig("1x0x8")
    with pytest.raises(ValueError, match="tokens=0 must be at least 1"):
        DiagnoseConfig(tokens=0)


def test_convert_records_how_leaves_are_used(text_file, tokenizer, tmp_path):
    folder = saved(tiny_bert(), tokenizer, tmp_path / "dense")
    sizes = {"tokens": 2000, "steps": 5, "batch_tokens": 64, "sequential_steps": 0}
    sizes |= {"end_to_end_steps": 1}
    config = ConvertConfig("1x2x3", end_to_end_tokens=2000, controls=False, **sizes)
    found = convert(folder, tmp_path / "out", text_file, config)
    usage = [row for row in found if isinstance(row, ConvertLayerUsageRow)]
    assert [(row.model, row.layer, row.n_tokens) for row in usage] == [
        ("fff", 0, 80),
        ("fff", 1, 80),
    ]


def test_tables_and_figures_take_any_token(tmp_path):
    row = ConvertLayerUsageRow(
        model="m",
        layer=3,
        tree=0,
        ffn="1x1",
        n_tokens=10,
        **leaf_usage(torch.tensor([1, 9])),
        token_purity=0.8,
        position_purity=0.1,
        regions=(Region(1, 0.9, (("|", 0.5), ("$x_", 0.25), ("漢", 0.25))),),
        counts=(1, 9),
    )
    assert "layer 3, leaf 1 | 90.0 | \\| 50, $x_ 25, 漢 25 |" in region_table([row])
    assert "| 3 (1x1) | 2 of 2 | 0.47 (of 1) |" in usage_table([row])
    assert [path.name for path in draw_diagnosis([row], tmp_path)] == ["layer3_usage.png"]
    assert usage_table([]) == region_table([]) == clusterability_table([]) == ""
    assert rows.parse(json.loads(json.dumps(rows.to_plain(row)))) == row
