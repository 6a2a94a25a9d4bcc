"""The heads: losses against PyTorch's, pooling, padding on either side, wrong input."""

import pytest
import torch
from tiny_models import batch, build
from torch.nn import functional as F

from ultrafastbert import (
    UltraFastBertForMultipleChoice,
    UltraFastBertForQuestionAnswering,
    UltraFastBertForSentenceEmbedding,
    UltraFastBertForSequenceClassification,
    UltraFastBertForTokenClassification,
    UltraFastBertModel,
)
from ultrafastbert.models.bert.pooling import pool


def test_token_classification_counts_labelled_tokens():
    model = build(UltraFastBertForTokenClassification, num_labels=5)
    ids, mask = batch()
    labels = torch.where(mask == 1, ids % 5, -100)
    out = model(ids, mask, labels=labels)
    assert out.logits.shape == (3, 10, 5)
    kept = labels != -100
    torch.testing.assert_close(out.loss, F.cross_entropy(out.logits[kept], labels[kept]))
    count = 2 * kept.sum()
    halved = model(ids, mask, labels=labels, num_items_in_batch=count).loss
    torch.testing.assert_close(halved, out.loss / 2)


def test_question_answering_is_the_mean_of_start_and_end():
    model = build(UltraFastBertForQuestionAnswering)
    ids, mask = batch()
    starts, ends = torch.tensor([1, 2, 99]), torch.tensor([3, 2, 99])  # the last is out of reach
    out = model(ids, mask, start_positions=starts, end_positions=ends)
    assert out.start_logits.shape == out.end_logits.shape == (3, 10)
    expected = [
        F.cross_entropy(out.start_logits[:2], starts[:2]),
        F.cross_entropy(out.end_logits[:2], ends[:2]),
    ]
    torch.testing.assert_close(out.loss, sum(expected) / 2)


@pytest.mark.parametrize("size", [16, None])
def test_multiple_choice_scores_choices_one_by_one(size):
    model = build(UltraFastBertForMultipleChoice, classifier_hidden_size=size)
    ids, mask = batch()
    ids, mask = torch.stack([ids, ids.flip(0)]), torch.stack([mask, mask.flip(0)])  # (2, 3, 10)
    out = model(ids, mask, labels=torch.tensor([0, 2]))
    torch.testing.assert_close(out.loss, F.cross_entropy(out.logits, torch.tensor([0, 2])))
    for row, choice in [(0, 0), (1, 2), (1, 0)]:
        alone = model(ids[row, choice][None, None], mask[row, choice][None, None]).logits
        torch.testing.assert_close(alone[0, 0], out.logits[row, choice])
    embeds = model.get_input_embeddings()(ids)
    torch.testing.assert_close(model(inputs_embeds=embeds, attention_mask=mask).logits, out.logits)


def test_multiple_choice_needs_choices():
    model = build(UltraFastBertForMultipleChoice)
    with pytest.raises(ValueError, match=r"shape \(3, 10\) must be \(batch, choices, sequence\)"):
        model(*batch())
    with pytest.raises(ValueError, match="exactly one"):
        model()


@pytest.mark.parametrize("pooling", ["mean", "cls"])
@pytest.mark.parametrize("normalized", [False, True])
def test_sentence_embeddings(pooling, normalized):
    options = {"sentence_pooling": pooling, "normalize_embeddings": normalized}
    model = build(UltraFastBertForSentenceEmbedding, **options)
    ids, mask = batch()
    out = model(ids, mask)
    for row, length in enumerate(mask.sum(1)):
        hidden = model.model(ids[row : row + 1, :length]).last_hidden_state[0]
        expected = hidden.mean(0) if pooling == "mean" else hidden[0]
        expected = expected / expected.norm() if normalized else expected
        torch.testing.assert_close(out.pooler_output[row], expected, rtol=1e-4, atol=1e-5)
    assert torch.equal(out.last_hidden_state, model.model(ids, mask).last_hidden_state)


def test_sentence_embedding_has_the_weights_of_the_encoder(tmp_path):
    encoder = build(UltraFastBertModel)
    encoder.save_pretrained(tmp_path)
    model, info = UltraFastBertForSentenceEmbedding.from_pretrained(
        tmp_path, output_loading_info=True
    )
    assert not any(info.values())
    assert torch.equal(model.eval()(*batch())[0], encoder(*batch())[0])


@pytest.mark.parametrize("pooling", ["mean", "cls"])
def test_pooling_skips_padding_on_either_side(pooling):
    hidden = torch.randn(1, 5, 4)
    expected = pool(hidden, None, pooling)
    for front, back in [(0, 3), (3, 0), (1, 2)]:
        padded = F.pad(hidden, (0, 0, front, back), value=7.0)
        mask = F.pad(torch.ones(1, 5, dtype=torch.int64), (front, back))
        torch.testing.assert_close(pool(padded, mask, pooling), expected)
        torch.testing.assert_close(pool(padded, mask.bool(), pooling), expected)
    nothing = pool(hidden, torch.zeros(1, 5, dtype=torch.int64), pooling)
    assert nothing.isfinite().all()


@pytest.mark.parametrize("positions", ["scaled_sinusoidal", "rotary"])
def test_padding_on_the_left(positions):
    model = build(UltraFastBertForSentenceEmbedding, position_embedding_type=positions)
    ids, mask = batch()
    expected = model(ids, mask).pooler_output
    left = torch.stack([row.roll(10 - int(n)) for row, n in zip(ids, mask.sum(1), strict=True)])
    left_mask = mask.flip(1)
    position_ids = (left_mask.cumsum(1) - 1).clamp(min=0)
    out = model(left, left_mask, position_ids).pooler_output
    torch.testing.assert_close(out, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("options", "labels"),
    [
        ({"num_labels": 1}, torch.tensor([0.5, 2.0, 5.0])),
        ({"num_labels": 3, "problem_type": "regression"}, torch.randn(3, 3)),
        ({"num_labels": 3}, torch.tensor([0, 2, 1])),
        ({"num_labels": 3}, torch.tensor([[0.0, 1, 1], [1, 0, 0], [0, 0, 0]])),
    ],
    ids=["regression", "several", "single-label", "multi-label"],
)
def test_problem_types(options, labels):
    model = build(UltraFastBertForSequenceClassification, **options)
    out = model(*batch(), labels=labels)
    if labels.dtype == torch.int64:
        expected = F.cross_entropy(out.logits, labels)
    elif model.config.problem_type == "regression":
        expected = F.mse_loss(out.logits, labels.view(out.logits.shape))
    else:
        expected = F.binary_cross_entropy_with_logits(out.logits, labels)
        assert model.config.problem_type == "multi_label_classification"
    torch.testing.assert_close(out.loss, expected)
