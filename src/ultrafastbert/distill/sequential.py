"""Learning in sequence: each block from what the model gives it, once those before are replaced.

A block that knows the original's inputs only is lost on others: an ordinary word that drifted is
taken for one of the few tokens with huge components, gets them, and all after it is noise. So each
block learns again, after those before it, to lead from where its inputs have drifted to what the
original's layer hands on. The first one does not, nor does one that all layers share.
"""

from collections.abc import Iterable
from pathlib import Path

from torch import nn
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from ultrafastbert.data.sampling import Text
from ultrafastbert.distill.teacher.capture import capture, renew
from ultrafastbert.models.converted.architectures import Block
from ultrafastbert.models.converted.hooks import Captured
from ultrafastbert.runs.status import Status

PART_TOKENS = 8192


def capture_in_sequence(
    student: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    texts: Iterable[Text],
    layer: int,
    original: Captured,
    norm: nn.LayerNorm | None,
    folder: Path,
    max_length: int,
    on_status: Status,
    block: Block,
) -> Captured:
    """Return what a layer's block reads in a student, and what it should write.

    Where `norm` reads the sum of both, this sum should be the original's; otherwise the output
    should. `original` is what the original's block read and wrote on the same texts.
    """
    renew(folder)
    captured = capture(
        student, tokenizer, texts, len(original.x), [layer], folder, max_length, on_status, block
    )[layer]
    for here, there in zip(*(_parts(each) for each in (captured, original)), strict=True):
        drift = there.x.float() - here.x.float() if norm else 0.0
        here.y.copy_(there.y.float() + drift)
    return captured


def _parts(captured: Captured) -> list[Captured]:
    """Return views of so many tokens each."""
    split = (part.split(PART_TOKENS) for part in captured)
    return [Captured(*each) for each in zip(*split, strict=True)]
