"""How far a model is from the original on the same texts."""

import torch
from torch import Tensor
from transformers import PreTrainedModel

from ultrafastbert.distill.teacher.outputs import outputs_of
from ultrafastbert.distill.teacher.targets import Targets
from ultrafastbert.evaluate.metrics import Comparison, compare
from ultrafastbert.models.precision import autocast_of

BATCH_TOKENS = 4096


@torch.no_grad()
def distance(
    student: PreTrainedModel, targets: Targets, n_tokens: int | None = None
) -> dict[str, float]:
    """Return how far a model is from the original, on all texts or on some of so many tokens.

    By all metrics of `evaluate.metrics` that compare with the original: `fvu_states` is the
    FVU of the last hidden states. With a sequence classifier or regression head,
    `fvu_logits` is that of logits, and `same_class` the share of texts for which the
    largest logit is the same one, if there are several.
    """
    n_tokens = min(n_tokens or len(targets.states), len(targets.states))
    error, n_read, pad = 0.0, 0, student.config.pad_token_id or 0
    found, expected = [], []
    for texts in targets.batches(-(-n_tokens // BATCH_TOKENS), BATCH_TOKENS, seed=0):
        inputs = targets.batch(texts, pad)
        keep = inputs["attention_mask"].bool()
        states = inputs.pop("targets")[keep][:, -1]
        if "logits" in inputs:
            expected.append(inputs.pop("logits"))
        with autocast_of(student):
            output = outputs_of(student, inputs)
        last = output.body.last_hidden_state[keep].float()
        error += (last - states).square().mean(1).sum().item()
        n_read += len(states)
        if output.logits is not None:
            found.append(output.logits.float())
    variance = targets.states_variance[-1].item()
    return compare(Comparison(error / n_read, variance, _joined(found), _joined(expected)))


def _joined(logits: list[Tensor]) -> Tensor | None:
    return torch.cat(logits) if logits else None
