"""Model cards: written with every saved model, valid for the hub, never over somebody's README."""

from dataclasses import replace

import pytest
from huggingface_hub import ModelCard, metadata_load
from report_rows import glue_row, model_rows, pretrain_rows
from transformers import Trainer, TrainingArguments

from ultrafastbert import (
    UltraFastBertConfig,
    UltraFastBertForMaskedLM,
    UltraFastBertForSequenceClassification,
    UltraFastBertModel,
    rows,
)
from ultrafastbert.models.io.card import is_ours, write_card
from ultrafastbert.report import write_model_card

SIZES = {"vocab_size": 61, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4}
PRETRAIN = replace(
    pretrain_rows(["fff"], seeds=(3,))[0],
    ffn="1x3x2",
    tokens=50_000,
    validation_loss=4.321,
    validation_accuracy=0.25,
)
SPEED = replace(
    model_rows()[0], family="1x3x2", hidden_size=32, num_hidden_layers=2, tokens_per_s=987.0
)


def config(**options):
    sizes = {**SIZES, "max_position_embeddings": 16, "classifier_hidden_size": 16}
    return UltraFastBertConfig(**{**sizes, "tree_depth": 3, "leaf_size": 2, **options})


@pytest.mark.parametrize(
    ("model_class", "task"),
    [
        (UltraFastBertForMaskedLM, "fill-mask"),
        (UltraFastBertForSequenceClassification, "text-classification"),
        (UltraFastBertModel, "feature-extraction"),
    ],
)
def test_a_saved_model_has_a_valid_card(tmp_path, model_class, task):
    model = model_class(config())
    model.save_pretrained(tmp_path)
    card = ModelCard.load(tmp_path / "README.md")
    assert card.data.pipeline_tag == task
    assert card.data.library_name == "ultrafastbert"
    assert card.data.license is None
    assert card.data.language is None
    assert metadata_load(tmp_path / "README.md") == card.data.to_dict()
    assert f"**Parameters:** {model.num_parameters():,}" in card.text
    assert "5 of 23 neurons active" in card.text
    assert "import ultrafastbert" in card.text
    assert "at most 16 tokens" in card.text


def test_card_of_a_dense_control_and_of_a_quantized_model(tmp_path):
    UltraFastBertModel(config(ffn_type="ff", intermediate_size=24)).save_pretrained(tmp_path / "ff")
    assert "# UltraFastBERT, ff:24\n" in (tmp_path / "ff" / "README.md").read_text()
    UltraFastBertModel(config()).quantize_("int8").save_pretrained(tmp_path / "int8")
    text = (tmp_path / "int8" / "README.md").read_text()
    assert "**Weights:** int8" in text
    assert "for inference only" in text


def test_a_readme_of_somebody_is_kept(tmp_path):
    readme = tmp_path / "README.md"
    readme.write_text("# Mine\n")
    UltraFastBertModel(config()).save_pretrained(tmp_path)
    assert readme.read_text() == "# Mine\n"
    assert not write_model_card(tmp_path)


def test_ours_is_renewed_until_edited(tmp_path):
    readme = tmp_path / "README.md"
    UltraFastBertModel(config()).save_pretrained(tmp_path)
    first = readme.read_text()
    assert is_ours(first)
    UltraFastBertModel(config(num_hidden_layers=1)).save_pretrained(tmp_path)
    second = readme.read_text()
    assert second != first
    assert is_ours(second)
    edited = second.replace("are not recorded here", "are those of Wikipedia")
    readme.write_text(edited)
    assert not write_card(tmp_path)
    assert readme.read_text() == edited


def test_results_come_from_the_rows(tmp_path):
    UltraFastBertForMaskedLM(config()).save_pretrained(tmp_path)
    rows.append_row(tmp_path / "rows.jsonl", PRETRAIN)
    glue = glue_row("cola", 12.3, model="fff", metric="matthews", seed=7)
    rows.append_row(tmp_path / "glue.jsonl", glue)
    other = replace(SPEED, family="1x9", tokens_per_s=555.0)
    rows.append_rows(tmp_path / "bench" / "model.jsonl", [SPEED, other])
    assert write_model_card(tmp_path, tmp_path / "bench")
    text = (tmp_path / "README.md").read_text()
    assert "This model is called fff." in text
    for figure in ("4.321", "25.0", "50k", "12.3", "CoLA (Matthews, %)", "987"):
        assert figure in text
    assert "555" not in text
    assert rows.environment().cpu in text
    assert "not recorded in this folder" not in text
    assert ModelCard.load(tmp_path / "README.md").data.pipeline_tag == "fill-mask"


def test_without_rows_the_card_says_so(tmp_path):
    UltraFastBertForMaskedLM(config()).save_pretrained(tmp_path)
    assert write_model_card(tmp_path)
    text = (tmp_path / "README.md").read_text()
    assert "not recorded in this folder" in text
    assert "## Results" not in text


def test_folders_of_other_models_are_left_alone(tmp_path):
    from transformers import BertConfig

    BertConfig(hidden_size=8, num_attention_heads=1).save_pretrained(tmp_path)
    assert not write_model_card(tmp_path)
    assert not (tmp_path / "README.md").exists()


def test_missing_folder_and_missing_rows_are_named(tmp_path):
    with pytest.raises(OSError, match="none"):
        write_model_card(tmp_path / "none")
    UltraFastBertModel(config()).save_pretrained(tmp_path)
    with pytest.raises(FileNotFoundError, match="none"):
        write_model_card(tmp_path, tmp_path / "none.jsonl")


def test_trainer_writes_its_own_card_over_ours_and_keeps_it(tmp_path):
    arguments = TrainingArguments(
        str(tmp_path), report_to="none", use_cpu=True, dataloader_pin_memory=False
    )
    trainer = Trainer(UltraFastBertForMaskedLM(config()), arguments)
    trainer.save_model()
    readme = tmp_path / "README.md"
    assert is_ours(readme.read_text())
    trainer.create_model_card(tags="mine")
    trainers = readme.read_text()
    assert "mine" in ModelCard.load(readme).data.tags
    assert "fast-feedforward" in ModelCard.load(readme).data.tags
    trainer.save_model()
    assert readme.read_text() == trainers
