"""Trainer's `evaluate` and `predict`: shapes of logits beside labels, for every head."""

import numpy as np
import pytest
import torch
from tiny_models import CLASSES, build, tiny
from transformers import (
    BertConfig,
    BertForMaskedLM,
    DataCollatorForLanguageModeling,
    Trainer,
    TrainingArguments,
)

from ultrafastbert import (
    UltraFastBertForMaskedLM,
    UltraFastBertForMultipleChoice,
    UltraFastBertForQuestionAnswering,
    UltraFastBertForSentenceEmbedding,
    UltraFastBertForSequenceClassification,
    UltraFastBertForTokenClassification,
    UltraFastBertModel,
)
from ultrafastbert.models.converted.model import converted_copy

N_ROWS, LENGTH, VOCABULARY, SIZE, N_CHOICES = 10, 16, 61, 32, 3

# What Trainer is to give for rows of LENGTH tokens, by class: predictions, labels.
SHAPES = {
    UltraFastBertModel: ((N_ROWS, LENGTH, SIZE), None),
    UltraFastBertForSentenceEmbedding: ([(N_ROWS, LENGTH, SIZE), (N_ROWS, SIZE)], None),
    UltraFastBertForMaskedLM: ((N_ROWS, LENGTH, VOCABULARY), (N_ROWS, LENGTH)),
    UltraFastBertForTokenClassification: ((N_ROWS, LENGTH, 2), (N_ROWS, LENGTH)),
    UltraFastBertForSequenceClassification: ((N_ROWS, 2), (N_ROWS,)),
    UltraFastBertForMultipleChoice: ((N_ROWS, N_CHOICES), (N_ROWS,)),
    UltraFastBertForQuestionAnswering: ([(N_ROWS, LENGTH)] * 2, [(N_ROWS,)] * 2),
}


def rows(model_class, with_labels=True, length=lambda row: LENGTH):
    generator = torch.Generator().manual_seed(0)
    found = []
    for row in range(N_ROWS):
        choices = (N_CHOICES,) if model_class is UltraFastBertForMultipleChoice else ()
        ids = torch.randint(5, VOCABULARY, (*choices, length(row)), generator=generator)
        found.append({"input_ids": ids, **(labels(model_class, ids, row) if with_labels else {})})
    return found


def labels(model_class, ids, row):
    if model_class in (UltraFastBertModel, UltraFastBertForSentenceEmbedding):
        return {}
    if model_class is UltraFastBertForQuestionAnswering:
        return {"start_positions": row % 3, "end_positions": row % 5 + 2}
    if model_class in (UltraFastBertForMaskedLM, UltraFastBertForTokenClassification):
        top = VOCABULARY if model_class is UltraFastBertForMaskedLM else 2
        return {"labels": torch.where(ids % (row % 3 + 2) == 0, ids % top, -100)}
    return {"labels": row % 2}


def trainer(model, folder, **options):
    arguments = {"eval_accumulation_steps": options.pop("accumulation", None)}
    arguments = TrainingArguments(
        str(folder),
        per_device_eval_batch_size=4,
        report_to="none",
        disable_tqdm=True,
        use_cpu=True,
        dataloader_pin_memory=False,
        **arguments,
    )
    return Trainer(model=model, args=arguments, **options)


def shapes(found):
    return [each.shape for each in found] if isinstance(found, tuple) else found.shape


@pytest.mark.parametrize("accumulation", [None, 1, 2])
@pytest.mark.parametrize("with_labels", [True, False])
@pytest.mark.parametrize("model_class", CLASSES, ids=lambda c: c.__name__[13:])
def test_predictions_have_one_shape(model_class, with_labels, accumulation, tmp_path):
    torch.manual_seed(0)
    model, data = build(model_class), rows(model_class, with_labels)
    output = trainer(model, tmp_path, accumulation=accumulation).predict(data)
    expected, wanted_labels = SHAPES[model_class]
    assert shapes(output.predictions) == expected
    if with_labels and wanted_labels:
        assert shapes(output.label_ids) == wanted_labels
        assert np.isfinite(output.metrics["test_loss"])
    else:
        assert output.label_ids is None
    alone = model(data[-1]["input_ids"][None])  # in a batch of two
    first = next(value for value in alone.values() if value is not None).detach()
    got = output.predictions[0] if isinstance(output.predictions, tuple) else output.predictions
    np.testing.assert_allclose(got[-1], first[0], rtol=1e-4, atol=1e-5)


def masked_lm_models():
    yield UltraFastBertForMaskedLM(tiny())
    sizes = {"num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 24}
    dense = BertForMaskedLM(BertConfig(vocab_size=VOCABULARY, hidden_size=SIZE, **sizes))
    yield converted_copy(dense, ["1x2x2", None])


def accuracy(found):
    """Return the accuracy over masked tokens, as run_mlm does."""
    predicted, wanted = found
    assert predicted.shape == wanted.shape
    predicted, wanted = predicted.reshape(-1), wanted.reshape(-1)
    is_masked = wanted != -100
    return {"accuracy": (predicted[is_masked] == wanted[is_masked]).mean()}


@pytest.mark.slow
@pytest.mark.parametrize("accumulation", [None, 1])
@pytest.mark.parametrize("number", [0, 1], ids=["ours", "converted"])
def test_run_mlm(number, accumulation, tokenizer, tmp_path):
    """Batches of different lengths, argmax ahead of the metrics, an evaluation while training."""
    torch.manual_seed(0)
    model = list(masked_lm_models())[number]
    model.resize_token_embeddings(len(tokenizer))
    data = rows(UltraFastBertForMaskedLM, False, length=lambda row: 6 + row)
    data = [{"input_ids": row["input_ids"].tolist()} for row in data]
    trained = trainer(
        model,
        tmp_path,
        accumulation=accumulation,
        train_dataset=data,
        eval_dataset=data,
        data_collator=DataCollatorForLanguageModeling(tokenizer, mlm_probability=0.5),
        compute_metrics=accuracy,
        preprocess_logits_for_metrics=lambda logits, labels: logits.argmax(-1),
    )
    trained.train()
    metrics = trained.evaluate()
    assert 0 <= metrics["eval_accuracy"] <= 1
    assert trained.predict(data).predictions.shape == (N_ROWS, LENGTH - 1)
