"""Tiny models of every class with inputs and labels, for tests in Hugging Face's manner."""

import pytest
import torch
from transformers import (
    AutoModelForMaskedLM,
    AutoModelForMultipleChoice,
    AutoModelForQuestionAnswering,
    AutoModelForSequenceClassification,
    AutoModelForTokenClassification,
)

from ultrafastbert import (
    UltraFastBertConfig,
    UltraFastBertForMaskedLM,
    UltraFastBertForMultipleChoice,
    UltraFastBertForQuestionAnswering,
    UltraFastBertForSentenceEmbedding,
    UltraFastBertForSequenceClassification,
    UltraFastBertForTokenClassification,
    UltraFastBertModel,
)

FFN = {
    "fff": {"tree_depth": 3, "leaf_size": 2, "n_trees": 2, "shared_size": 3},
    "ff": {"intermediate_size": 24},
    "glu": {"intermediate_size": 24},
    "none": {},
}
ROTARY = {"position_embedding_type": "rotary"}
NO_DROPOUT = {
    "hidden_dropout_prob": 0.0,
    "attention_probs_dropout_prob": 0.0,
    "classifier_dropout": 0.0,
}
BIASES = {"qkv_bias": True, "use_bias": True, "decoder_bias": True, "head_transform": True}


def tiny(ffn_type="fff", **options):
    sizes = {"vocab_size": 61, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4}
    options = {"classifier_hidden_size": 16, **sizes, **FFN[ffn_type], **options}
    return UltraFastBertConfig(ffn_type=ffn_type, max_position_embeddings=16, **options)


def batch(vocab_size=61):
    torch.manual_seed(1)
    ids = torch.randint(1, vocab_size, (3, 10))
    mask = torch.ones(3, 10, dtype=torch.int64)
    mask[1, 7:] = 0
    mask[2, 4:] = 0
    return ids * mask, mask


def build(model_class, *args, **options):
    torch.manual_seed(0)
    return model_class(tiny(*args, **options)).eval()


HEADS = {
    UltraFastBertForMaskedLM: AutoModelForMaskedLM,
    UltraFastBertForSequenceClassification: AutoModelForSequenceClassification,
    UltraFastBertForTokenClassification: AutoModelForTokenClassification,
    UltraFastBertForQuestionAnswering: AutoModelForQuestionAnswering,
    UltraFastBertForMultipleChoice: AutoModelForMultipleChoice,
}
CLASSES = [UltraFastBertModel, UltraFastBertForSentenceEmbedding, *HEADS]

every_class = pytest.mark.parametrize("model_class", CLASSES, ids=lambda c: c.__name__[13:])
every_head = pytest.mark.parametrize("model_class", HEADS, ids=lambda c: c.__name__[13:])
with_and_without_biases = pytest.mark.parametrize("biases", [{}, BIASES], ids=["plain", "biases"])


def inputs(model_class):
    ids, mask = batch()
    if model_class is UltraFastBertForMultipleChoice:
        ids, mask = torch.stack([ids, ids.flip(0)]), torch.stack([mask, mask.flip(0)])
    return {"input_ids": ids, "attention_mask": mask}


def labels(model_class):
    ids, mask = batch()
    return {
        UltraFastBertForMaskedLM: {"labels": torch.where(mask == 1, ids, -100)},
        UltraFastBertForSequenceClassification: {"labels": torch.tensor([0, 1, 1])},
        UltraFastBertForTokenClassification: {"labels": torch.where(mask == 1, ids % 2, -100)},
        UltraFastBertForQuestionAnswering: {
            "start_positions": torch.tensor([1, 2, 0]),
            "end_positions": torch.tensor([4, 3, 3]),
        },
        UltraFastBertForMultipleChoice: {"labels": torch.tensor([0, 2])},
    }[model_class]


def same(a, b, **tolerance):
    """Compare all outputs of two models."""
    assert a.keys() == b.keys()
    for name in a:
        torch.testing.assert_close(a[name], b[name], **tolerance)
