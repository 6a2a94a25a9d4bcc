"""Sequential distillation: each FF layer learns again, after those before it are replaced.

A layer that has seen only the original's inputs fails on drifted ones: an ordinary token is
mistaken for one of the few with huge components, gets them, and all after it is noise. So each
layer learns to lead from where its inputs have drifted to what the original's layer hands on. The
first one does not, nor does one that all Transformer layers share. Each model reads the text once
for each layer.
"""

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

from torch import nn
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from ultrafastbert.data.sampling import Text
from ultrafastbert.distill.conversion import SEQUENTIAL, Conversion
from ultrafastbert.distill.layers import learn
from ultrafastbert.distill.teacher.capture import Parts, capture, renew
from ultrafastbert.models.converted.architectures import FeedForwardLocation
from ultrafastbert.models.converted.hooks import Captured
from ultrafastbert.rows.conversion import ConvertSequentialRow
from ultrafastbert.runs.status import Show

PART_TOKENS = 8192


def models_left(conversion: Conversion) -> list[tuple[int, str]]:
    """Return seeds and names of the models with layers to distil sequentially."""
    return [case for case in conversion.models if _layers_left(conversion, *case)]


def _layers_left(conversion: Conversion, seed: int, name: str) -> list[int]:
    """Return the layers that are left: what the first one reads does not drift."""
    if not conversion.config.sequential_steps:
        return []
    learned = conversion.distilled_sequentially(seed, name)
    return [
        layer_id for layer_id in sorted(conversion.run.layer_ids)[1:] if layer_id not in learned
    ]


def distill_sequentially(
    conversion: Conversion, seed: int, name: str, originals: dict[int, Parts]
) -> None:
    """Train the layers of a model again, each with a `ConvertSequentialRow`.

    `originals` is what the original's FF layers read and wrote, by layer id.
    """
    run, model = conversion.run, conversion.student(seed, name)
    ffn, training, _ = conversion.candidates[seed][name]
    training = replace(training, steps=conversion.config.sequential_steps)
    for layer_id in _layers_left(conversion, seed, name):
        row = learn(
            run,
            ConvertSequentialRow,
            run.feedforward(model, layer_id),
            name,
            layer_id,
            _drifted(conversion, model, layer_id, originals[layer_id]),
            training,
            f"layer {layer_id}, sequential: {ffn} ({name}, seed {seed})",
            conversion.weights(seed, layer_id, name, SEQUENTIAL),
            is_new=False,
        )
        conversion.append(row)


def _drifted(
    conversion: Conversion, model: PreTrainedModel, layer_id: int, originals: Parts
) -> Parts:
    """Return what one layer reads in a model, and what it should write, on both parts of a text."""
    run = conversion.run
    captured = {
        part: capture_drifted(
            model,
            run.tokenizer,
            run.texts(part),
            layer_id,
            original,
            run.norms[layer_id],
            run.work / SEQUENTIAL / part,
            run.max_length,
            run.on_status,
            run.location,
        )
        for part, original in originals._asdict().items()
    }
    return Parts(**captured)


def capture_drifted(
    student: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    texts: Iterable[Text],
    layer_id: int,
    original: Captured,
    norm: nn.LayerNorm | None,
    folder: Path,
    max_length: int,
    on_status: Show,
    location: FeedForwardLocation,
) -> Captured:
    """Return what an FF layer reads in a student, and what it should write.

    Where `norm` reads the sum of both, this sum should be the original's; otherwise the output
    should. `original` is what the original's FF layer read and wrote on the same texts.
    """
    renew(folder)
    n_tokens = len(original.x)
    captured = capture(
        student, tokenizer, texts, n_tokens, [layer_id], folder, max_length, on_status, location
    )[layer_id]
    for here, there in zip(*(_parts(each) for each in (captured, original)), strict=True):
        drift = there.x.float() - here.x.float() if norm else 0.0
        here.y.copy_(there.y.float() + drift)
    return captured


def _parts(captured: Captured) -> list[Captured]:
    """Return views of so many tokens each."""
    split = (part.split(PART_TOKENS) for part in captured)
    return [Captured(*each) for each in zip(*split, strict=True)]
