"""End-to-end distillation: a converted model learns the last hidden states of the original."""

import itertools
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from ultrafastbert.convert.precision import autocast_of
from ultrafastbert.convert.schedule import learning_rate_share
from ultrafastbert.models.converted_block import ConvertedBlock

OnStep = Callable[[int], None]  # steps done


@dataclass(frozen=True)
class EndToEndConfig:
    """How a whole model is trained.

    Attributes:
        steps: batches of texts, with an update each; 0 leaves the model as it is.
        learning_rate: at the peak, of all weights but the embeddings.
    """

    steps: int = 1000
    learning_rate: float = 1e-3


def distill_end_to_end(
    student: PreTrainedModel,
    teacher: PreTrainedModel,
    batches: Iterable[dict[str, Tensor]],
    config: EndToEndConfig,
    on_step: OnStep = lambda step: None,
) -> None:
    """Train a converted model, in place, on the original's last hidden states.

    The loss is the mean squared error over tokens that are not padding. Weights of the embeddings
    and hyperplanes stay. Dropout is off, as the teacher's is. `batches` go on for as many steps.
    """
    parameters = _trained(student)
    optimizer = torch.optim.AdamW(parameters, betas=(0.9, 0.99), weight_decay=0.0, fused=True)
    for step, batch in enumerate(itertools.islice(batches, config.steps)):
        with autocast_of(student):
            with torch.no_grad():
                target = teacher.base_model(**batch).last_hidden_state.float()
            hidden = student.base_model(**batch).last_hidden_state.float()
        keep = batch["attention_mask"].bool()
        nn.functional.mse_loss(hidden[keep], target[keep]).backward()
        for block in _blocks(student):
            block.hold_hyperplanes()
        rate = learning_rate_share(step, config.steps)
        optimizer.param_groups[0]["lr"] = config.learning_rate * rate
        optimizer.step()
        optimizer.zero_grad()
        on_step(step + 1)


def _trained(model: PreTrainedModel) -> list[nn.Parameter]:
    embeddings = set(model.get_input_embeddings().parameters())
    return [weight for weight in model.base_model.parameters() if weight not in embeddings]


def _blocks(model: PreTrainedModel) -> list[ConvertedBlock]:
    return [module for module in model.modules() if isinstance(module, ConvertedBlock)]
