"""Held-out text with the original's last hidden states in memory: how far is a model from them?"""

from collections.abc import Iterable
from itertools import islice

import torch
from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from ultrafastbert.data.sampling import Text
from ultrafastbert.data.text_batches import batches_of

# Some thousand tokens: differences between models show on few, as all read the same ones.
N_TEXTS = 128


class HeldOut:
    """Texts with the original's last hidden states, in memory.

    Args:
        teacher: the original.
        texts: of which the first 128 are read.

    Attributes:
        ids: all tokens, one after the other: (T).
    """

    def __init__(
        self,
        teacher: PreTrainedModel,
        tokenizer: PreTrainedTokenizerBase,
        texts: Iterable[Text],
        max_length: int,
    ):
        self.batches = list(batches_of(tokenizer, islice(texts, N_TEXTS), max_length))
        self.ids = torch.cat([batch["input_ids"][_keep(batch)] for batch in self.batches])
        self.states = [_states(teacher, batch) for batch in self.batches]
        together = torch.cat(self.states)
        self.variance = (together - together.mean(0)).square().sum().item()

    def fvu(self, model: PreTrainedModel) -> float:
        """Return the FVU of the original's last hidden states: 0 is perfect.

        Padding does not count.
        """
        error = 0.0
        for batch, states in zip(self.batches, self.states, strict=True):
            error += (_states(model, batch) - states).square().sum().item()
        return error / self.variance


@torch.inference_mode()
def _states(model: PreTrainedModel, batch: dict[str, Tensor]) -> Tensor:
    """Return the last hidden states of tokens that are not padding: (T, H)."""
    return model.base_model(**batch).last_hidden_state[_keep(batch)].float()


def _keep(batch: dict[str, Tensor]) -> Tensor:
    return batch["attention_mask"].bool()
