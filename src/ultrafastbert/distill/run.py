"""One distillation under way: what conversions and sweeps share.

A dense model (the teacher), a text and a folder. The folder holds rows, and in `work/` what is
needed while the run goes on; what is done there is not done again.
"""

import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar, Protocol, TypeVar

from datasets import Dataset
from transformers import PreTrainedModel

from ultrafastbert.data.sampling import Text, texts_of
from ultrafastbert.data.text import Source, source_key, text_apart_from
from ultrafastbert.distill.config import VALIDATION_SHARE, tokens_of
from ultrafastbert.distill.end_to_end import EndToEndConfig, distill_end_to_end
from ultrafastbert.distill.teacher.capture import Parts, capture, check_disk, disk_bytes
from ultrafastbert.distill.teacher.targets import Targets, capture_targets
from ultrafastbert.distill.teacher.targets import disk_bytes as targets_disk_bytes
from ultrafastbert.evaluate.similarity import Evaluation, load_evaluations, scores
from ultrafastbert.evaluate.task_data import data_digest, load_task
from ultrafastbert.evaluate.tasks import get_task
from ultrafastbert.models.converted.architectures import layers_of
from ultrafastbert.models.converted.feedforward import ConvertedFeedForward
from ultrafastbert.models.converted.folder import check_encoder, open_dense, save_converted
from ultrafastbert.models.converted.model import converted_copy
from ultrafastbert.models.io.saved import model_digest
from ultrafastbert.rows import append_rows, read_rows
from ultrafastbert.rows.row import Row, Score
from ultrafastbert.runs import run_folder
from ultrafastbert.runs.status import Show, counting

# In `work/`: what end-to-end distillation needs.
END_TO_END = "end_to_end"

R = TypeVar("R", bound=Row)


class RunConfig(Protocol):
    """What configurations of conversions and sweeps have in common; both are data classes."""

    __dataclass_fields__: ClassVar[dict[str, Any]]

    @property
    def ff_location(self) -> str | None:
        """Where FF layers sit, if that has to be named."""

    @property
    def tokens(self) -> int:
        """How much text layers learn from."""

    @property
    def max_length(self) -> int:
        """Tokens of a text, or a pair, that are read."""


class DistillationRun:
    """A teacher, a text and a folder.

    Attributes:
        teacher, tokenizer: the dense model.
        location, layer_ids, norms: where its FF layers sit, which are converted, what reads them.
        n_layers, hidden_size: of the teacher.
        evaluations: labelled pairs of sentences that models are scored on.
        work, rows_path: where things are.
    """

    def __init__(
        self,
        config: RunConfig,
        model_dir: Path,
        text: Source,
        out_dir: Path,
        evaluations: Sequence[Evaluation],
        on_status: Show,
        layer_ids: Sequence[int] | None = None,
    ):
        self.model_dir, self.out_dir, self.text = model_dir, out_dir, text
        self.tokens, self.max_length = config.tokens, config.max_length
        self.whole_lines = bool(getattr(config, "whole_lines", None))  # sweeps have no such option
        self.evaluations, self.on_status = evaluations, on_status
        self.work, self.rows_path = out_dir / "work", out_dir / "rows.jsonl"
        dense = open_dense(model_dir, config.max_length, config.ff_location, layer_ids)
        check_encoder(dense.model, dense.sample)
        self.teacher, self.tokenizer = dense.model, dense.tokenizer
        self.location, self.layer_ids, self.norms = dense.location, dense.layer_ids, dense.norms
        self.n_layers = len(layers_of(self.teacher, self.location))
        self.hidden_size: int = self.teacher.config.hidden_size

    def rows(self, kind: type[R]) -> list[R]:
        """Return the rows of a class so far."""
        return read_rows(self.rows_path, kind) if self.rows_path.exists() else []

    def append(self, *new: R) -> list[R]:
        """Keep rows; return them as they are kept."""
        return append_rows(self.rows_path, list(new))

    def check_disk(self, is_sequential: bool, end_to_end_tokens: int) -> None:
        """Raise ValueError where the disk is too small for the larger of the two stages."""
        layers = disk_bytes(self.tokens, self.hidden_size, len(self.layer_ids) + is_sequential)
        whole = targets_disk_bytes(
            end_to_end_tokens, self.hidden_size, self.n_layers, self.tokenizer
        )
        needed = (1 + 1 / VALIDATION_SHARE) * max(layers, whole)
        self.on_status(f"needs {needed / 2**30:.2f} GiB on disk", 0, None)
        if not self.work.exists():
            check_disk(self.out_dir, int(needed))

    def texts(self, part: str) -> list[Text]:
        """Return the texts of a part, `train` or `validation`."""
        if part == "validation":
            return self._held_out_texts
        self.on_status("reading text", 0, None)
        return texts_of(self.text, validation=False, whole_lines=self.whole_lines)

    @cached_property
    def _held_out_texts(self) -> list[Text]:
        self.on_status("reading text", 0, None)
        return texts_of(self.text, validation=True, whole_lines=self.whole_lines)

    def captured(self) -> dict[int, Parts]:
        """Return what the teacher's FF layers read and wrote, by layer id: kept on disk."""
        train, validation = (self._captured(part) for part in Parts._fields)
        return {id_: Parts(train[id_], validation[id_]) for id_ in self.layer_ids}

    def _captured(self, part: str) -> dict[int, Any]:
        return capture(
            self.teacher,
            self.tokenizer,
            self.texts(part),
            tokens_of(part, self.tokens),
            self.layer_ids,
            self.work / part,
            self.max_length,
            self.on_status,
            self.location,
        )

    def targets(self, part: str, n_tokens: int) -> Targets:
        """Return the teacher's hidden states on a part of the text, kept on disk."""
        return capture_targets(
            self.teacher,
            self.tokenizer,
            self.texts(part),
            tokens_of(part, n_tokens),
            self.work / END_TO_END / str(n_tokens) / part,
            self.max_length,
            self.on_status,
        )

    def remove(self, *names: str) -> None:
        """Remove what is no longer needed from the folder for work in progress."""
        for name in names:
            shutil.rmtree(self.work / name, ignore_errors=True)

    def feedforward(self, model: PreTrainedModel, layer_id: int) -> ConvertedFeedForward:
        """Return a new FF layer of a converted model."""
        layer = layers_of(model, self.location)[layer_id]
        found = layer.get_submodule(self.location.first)
        assert isinstance(found, ConvertedFeedForward)
        return found

    def student(
        self, ffn: Sequence[str | None], states: Mapping[int, Mapping[str, Any]]
    ) -> PreTrainedModel:
        """Return the teacher's copy with new FF layers.

        Args:
            ffn: of each Transformer layer; None keeps the original.
            states: of the new FF layers, by layer id.
        """
        model = converted_copy(self.teacher, ffn, self.location)
        for layer_id, state in states.items():
            self.feedforward(model, layer_id).load_state_dict(state)
        return model

    def train_whole(
        self,
        model: PreTrainedModel,
        train: Targets,
        config: EndToEndConfig,
        name: str,
        what: str,
        held_out: Targets | None = None,
    ) -> dict[int, dict[str, float]]:
        """Distil a model end to end, in place; what the same `name` began goes on.

        Returns the curve on held-out text, see `distill_end_to_end`.
        """
        on_step = counting(self.on_status, f"end to end: {what}", config.steps, "steps")
        folder = self.work / END_TO_END / name
        return distill_end_to_end(model, train, config, folder, on_step, held_out)

    def save(self, model: PreTrainedModel, folder: Path) -> None:
        """Save a model beside the files of the teacher, see `save_converted`."""
        save_converted(model, self.model_dir, folder)

    def scores(self, model: PreTrainedModel, *splits: str) -> tuple[Score, ...]:
        """Return a model's scores on all evaluations or those of some splits."""
        chosen = (each for each in self.evaluations if each.split in (splits or (each.split,)))
        return scores(model, self.tokenizer, chosen)


@contextmanager
def opened(
    config: RunConfig,
    model_dir: str | Path,
    out_dir: str | Path,
    text: Source,
    settings_file: str,
    glue_dir: str | Path | None,
    resume: bool,
    on_status: Show,
    layer_ids: Sequence[int] | None = None,
    tasks: Iterable[str] = (),
) -> Iterator[DistillationRun]:
    """Open a dense model, a text and a folder, which is held for this run and keeps its settings.

    Raises FileExistsError, BlockingIOError, OSError and ValueError as `convert` says.
    """
    out_dir, model_dir = Path(out_dir), Path(model_dir)
    read = text_apart_from(text, out_dir)
    inputs = [str(model_dir), *map(str, read)]
    with run_folder.run_in(out_dir, settings_file, resume, inputs) as claim:
        evaluations = load_evaluations(glue_dir)
        labelled = _labelled(evaluations, tasks, glue_dir)
        on_status("loading the original", 0, None)
        run = DistillationRun(config, model_dir, read, out_dir, evaluations, on_status, layer_ids)
        settings = {
            **asdict(config),
            "model": model_digest(model_dir),
            "text": source_key(read),
            "glue_dir": data_digest(labelled),
        }
        claim(settings)
        yield run


def _labelled(
    evaluations: Iterable[Evaluation], tasks: Iterable[str], glue_dir: str | Path | None
) -> dict[str, Dataset]:
    """Return all labelled data of a run, which is read before hours of work depend on it."""
    labelled = {each.name: each.pairs for each in evaluations}
    for task in tasks:
        for split, dataset in load_task(get_task(task), glue_dir).items():
            labelled[f"{task} {split}"] = dataset
    return labelled
