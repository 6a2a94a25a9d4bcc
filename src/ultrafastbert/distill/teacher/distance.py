"""How far a model is from what the original made of the same texts."""

import torch
from torch import Tensor
from transformers import PreTrainedModel

from ultrafastbert.distill.teacher.outputs import outputs_of
from ultrafastbert.distill.teacher.targets import Targets
from ultrafastbert.models.precision import autocast_of

BATCH_TOKENS = 4096


def logits_variance(logits: Tensor) -> Tensor:
    """Return the mean variance of logits (texts, C) over the texts."""
    return logits.var(0, correction=0).mean()


@torch.no_grad()
def distance(
    student: PreTrainedModel, targets: Targets, n_tokens: int | None = None
) -> dict[str, float]:
    """Return how far a model is from the original, on all texts or on some of so many tokens.

    `unexplained_states` is the share of the last hidden states' variance that it leaves
    unexplained. Where a head judges whole texts, `unexplained_logits` is the same of logits, and
    `same_class` the share of texts for which the largest logit is the same one, if there are
    several.
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
    measured = {"unexplained_states": error / n_read / targets.states_variance[-1].item()}
    if expected:
        measured |= _of_logits(torch.cat(found), torch.cat(expected))
    return measured


def _of_logits(found: Tensor, expected: Tensor) -> dict[str, float]:
    share = (found - expected).square().mean() / logits_variance(expected)
    measured = {"unexplained_logits": share.item()}
    if expected.shape[1] > 1:
        same = found.argmax(1) == expected.argmax(1)
        measured["same_class"] = same.float().mean().item()
    return measured
