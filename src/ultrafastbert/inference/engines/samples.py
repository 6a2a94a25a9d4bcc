"""Inputs on which an int8 model is compared with the original."""

import itertools
from collections.abc import Iterable, Iterator
from pathlib import Path

from torch import Tensor
from transformers import PreTrainedModel

from ultrafastbert.data import docstrings
from ultrafastbert.data.text_batches import batches_of
from ultrafastbert.inference.engines.tracing import TEXT_INPUTS, example_inputs
from ultrafastbert.models.converted.folder import n_positions
from ultrafastbert.models.io.saved import load_padding_tokenizer

Batches = Iterable[dict[str, Tensor]]

N_TEXTS, MAX_LENGTH = 32, 128
RANDOM_BATCH = 16


def sample_batches(
    model: PreTrainedModel, folder: Path, names: tuple[str, ...]
) -> Iterator[dict[str, Tensor]]:
    """Yield batches of paragraphs of Python's documentation, or without tokenizer random ones."""
    longest = min(MAX_LENGTH, n_positions(model) or MAX_LENGTH)
    has_tokenizer = (folder / "tokenizer_config.json").exists()
    inputs = example_inputs(model, RANDOM_BATCH, longest, names)
    if not has_tokenizer or inputs[names[0]].dim() != 2:  # images and choices
        yield inputs
        return
    texts = list(itertools.islice(docstrings.library_paragraphs(), N_TEXTS))
    for batch in batches_of(load_padding_tokenizer(folder), texts, longest):
        yield {name: batch[name] for name in TEXT_INPUTS if name in names}
