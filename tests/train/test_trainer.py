"""transformers' Trainer, used as its example scripts do: run_glue, run_ner, run_qa, run_swag."""

import numpy as np
import pytest
import torch
from datasets import Dataset, DatasetDict, disable_progress_bars
from tiny_models import NO_DROPOUT, tiny
from transformers import (
    AutoConfig,
    AutoModelForMultipleChoice,
    AutoModelForQuestionAnswering,
    AutoModelForSequenceClassification,
    AutoModelForTokenClassification,
    AutoTokenizer,
    DataCollatorForTokenClassification,
    Trainer,
    TrainingArguments,
    default_data_collator,
)

from ultrafastbert import UltraFastBertForMaskedLM

disable_progress_bars()
N_ROWS, LENGTH = 32, 16


@pytest.fixture
def pretrained(tokenizer, tmp_path):
    torch.manual_seed(0)
    config = tiny(vocab_size=len(tokenizer), initializer_range=0.1, **NO_DROPOUT)
    UltraFastBertForMaskedLM(config).save_pretrained(tmp_path / "pretrained")
    tokenizer.save_pretrained(tmp_path / "pretrained")
    return tmp_path / "pretrained"


def arguments(folder, **options):
    defaults = {
        "num_train_epochs": 6,
        "learning_rate": 1e-2,
        "per_device_train_batch_size": 8,
        "logging_steps": 4,
        "logging_first_step": True,
        "save_strategy": "epoch",
        "save_total_limit": 1,
        "report_to": "none",
        "disable_tqdm": True,
        "use_cpu": True,
        "dataloader_pin_memory": False,
    }
    return TrainingArguments(output_dir=str(folder), **(defaults | options))


def losses(trainer):
    return [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]


def sentences():
    return [f"The {'small' if i % 2 else 'deep'} tree visits the leaf." for i in range(N_ROWS)]


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:`gradient_checkpointing` is deprecated")
@pytest.mark.parametrize("options", [{}, {"gradient_checkpointing": True}], ids=["", "checkpoints"])
def test_run_glue(pretrained, tmp_path, options):
    rows = {"sentence": sentences(), "label": [i % 2 for i in range(N_ROWS)]}
    raw = DatasetDict(train=Dataset.from_dict(rows), validation=Dataset.from_dict(rows))
    hub = {"cache_dir": None, "revision": "main", "token": None, "trust_remote_code": False}
    config = AutoConfig.from_pretrained(pretrained, num_labels=2, finetuning_task="sst2", **hub)
    tokenizer = AutoTokenizer.from_pretrained(pretrained, use_fast=True, **hub)
    model = AutoModelForSequenceClassification.from_pretrained(
        pretrained, config=config, ignore_mismatched_sizes=False, **hub
    )
    model.config.label2id = {"negative": 0, "positive": 1}
    model.config.id2label = {0: "negative", 1: "positive"}

    def preprocess(examples):
        result = tokenizer(
            examples["sentence"], padding="max_length", max_length=LENGTH, truncation=True
        )
        return result | {"label": examples["label"]}

    data = raw.map(preprocess, batched=True)
    trainer = Trainer(
        model=model,
        args=arguments(tmp_path / "run", **options),
        train_dataset=data["train"],
        eval_dataset=data["validation"],
        compute_metrics=lambda p: {"accuracy": (p.predictions.argmax(1) == p.label_ids).mean()},
        processing_class=tokenizer,
        data_collator=default_data_collator,
    )
    result = trainer.train()
    trainer.save_model()
    trainer.save_metrics("train", result.metrics)
    trainer.save_state()
    assert trainer.evaluate(eval_dataset=data["validation"])["eval_accuracy"] == 1.0
    test = data["validation"].remove_columns("label")
    predictions = trainer.predict(test, metric_key_prefix="predict").predictions
    trainer.create_model_card(finetuned_from="pretrained", tasks="text-classification")

    reloaded = AutoModelForSequenceClassification.from_pretrained(tmp_path / "run").eval()
    assert reloaded.config.id2label == {0: "negative", 1: "positive"}
    inputs = tokenizer(sentences(), padding=True, return_tensors="pt")
    with torch.no_grad():
        logits = reloaded(**inputs).logits
    np.testing.assert_allclose(logits, predictions, rtol=1e-3, atol=1e-3)
    resumed = trainer.train(resume_from_checkpoint=True)
    assert resumed.global_step == result.global_step


@pytest.mark.slow
def test_token_classification(pretrained, tmp_path):
    tokenizer = AutoTokenizer.from_pretrained(pretrained)
    model = AutoModelForTokenClassification.from_pretrained(pretrained, num_labels=3)

    def tokenize_and_align(examples):
        encoded = tokenizer(examples["tokens"], truncation=True, is_split_into_words=True)
        encoded["labels"] = [
            [-100 if word is None else tags[word] for word in encoded.word_ids(i)]
            for i, tags in enumerate(examples["tags"])
        ]
        return encoded

    words = [sentence.rstrip(".").split() for sentence in sentences()]
    tags = [[1 if w in ("small", "deep") else 2 * (w == "tree") for w in row] for row in words]
    data = Dataset.from_dict({"tokens": words, "tags": tags})
    trainer = Trainer(
        model=model,
        args=arguments(tmp_path / "run"),
        train_dataset=data.map(tokenize_and_align, batched=True),
        data_collator=DataCollatorForTokenClassification(tokenizer),
        processing_class=tokenizer,
    )
    trainer.train()
    assert losses(trainer)[-1] < 0.2 * losses(trainer)[0]
    trainer.save_model()
    assert AutoModelForTokenClassification.from_pretrained(tmp_path / "run").num_labels == 3


@pytest.mark.slow
def test_question_answering(pretrained, tmp_path):
    tokenizer = AutoTokenizer.from_pretrained(pretrained)
    model = AutoModelForQuestionAnswering.from_pretrained(pretrained)
    contexts = sentences()
    answers = ["small" if i % 2 else "deep" for i in range(N_ROWS)]
    question = "Which tree?"

    def prepare(examples):
        encoded = tokenizer(
            [question] * len(examples["context"]),
            examples["context"],
            truncation="only_second",
            max_length=LENGTH,
            padding="max_length",
        )
        first = [c.index(a) for c, a in zip(examples["context"], examples["answer"], strict=True)]
        last = [start + len(a) - 1 for start, a in zip(first, examples["answer"], strict=True)]
        for name, ends in {"start_positions": first, "end_positions": last}.items():
            encoded[name] = [
                encoded.char_to_token(row, end, sequence_index=1) for row, end in enumerate(ends)
            ]
        return encoded

    data = Dataset.from_dict({"context": contexts, "answer": answers})
    prepared = data.map(prepare, batched=True, remove_columns=data.column_names)
    trainer = Trainer(
        model=model,
        args=arguments(tmp_path / "run"),
        train_dataset=prepared,
        eval_dataset=prepared,
        processing_class=tokenizer,
        data_collator=default_data_collator,
    )
    trainer.train()
    assert losses(trainer)[-1] < 0.2 * losses(trainer)[0]
    starts, ends = trainer.predict(prepared).predictions
    encoded = tokenizer([question] * N_ROWS, contexts, return_offsets_mapping=True)
    for row, context in enumerate(contexts):
        offsets = encoded["offset_mapping"][row]
        first, last = offsets[starts[row].argmax()][0], offsets[ends[row].argmax()][1]
        assert context[first:last] == answers[row]


@pytest.mark.slow
def test_multiple_choice(pretrained, tmp_path):
    tokenizer = AutoTokenizer.from_pretrained(pretrained)
    model = AutoModelForMultipleChoice.from_pretrained(pretrained)
    right = [i // 2 % 2 for i in range(N_ROWS)]
    endings = [["the leaf.", "the kernel."][:: 1 - 2 * label] for label in right]
    rows = [
        tokenizer(["The tree visits"] * 2, pair, padding="max_length", max_length=LENGTH)
        for pair in endings
    ]
    data = Dataset.from_list(
        [dict(row) | {"labels": label} for row, label in zip(rows, right, strict=True)]
    )
    trainer = Trainer(
        model=model,
        args=arguments(tmp_path / "run"),
        train_dataset=data,
        eval_dataset=data,
        processing_class=tokenizer,
        data_collator=default_data_collator,
    )
    trainer.train()
    assert (trainer.predict(data).predictions.argmax(1) == right).all()


@pytest.mark.slow
@pytest.mark.parametrize("num_labels", [1, 2])
def test_accumulated_batches_train_like_one(pretrained, tmp_path, num_labels):
    """Regression, too: its loss is a mean that nobody divides unless Trainer knows."""
    tokenizer = AutoTokenizer.from_pretrained(pretrained)
    encoded = tokenizer(sentences(), padding="max_length", max_length=LENGTH)
    labels = [float(i % 2) if num_labels == 1 else i % 2 for i in range(N_ROWS)]
    data = Dataset.from_dict({**encoded, "labels": labels})
    weights = []
    for size, accumulated in [(8, 1), (2, 4)]:
        torch.manual_seed(0)
        model = AutoModelForSequenceClassification.from_pretrained(
            pretrained, num_labels=num_labels
        )
        args = arguments(
            tmp_path / str(size),
            per_device_train_batch_size=size,
            gradient_accumulation_steps=accumulated,
            max_steps=1,
            optim="sgd",
            max_grad_norm=0.0,
            save_strategy="no",
        )
        Trainer(model=model, args=args, train_dataset=data).train()
        weights.append(model.classifier.weight.detach())
    torch.testing.assert_close(*weights)
