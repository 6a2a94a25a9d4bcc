"""The models of a conversion: which candidates there are, and what they have learned so far."""

from dataclasses import replace
from functools import cached_property
from pathlib import Path

import torch
from safetensors.torch import load_file
from transformers import PreTrainedModel

from ultrafastbert.distill.candidates import Candidate, candidates
from ultrafastbert.distill.config import ConvertConfig
from ultrafastbert.distill.equal_latency import time_equal_width
from ultrafastbert.distill.run import DistillationRun
from ultrafastbert.distill.start import go_on_from
from ultrafastbert.rows.conversion import (
    ConvertLayerRow,
    ConvertSequentialRow,
    ConvertTimeRow,
    OfConversion,
)

# Stages of FF layers, in names of files and folders.
ALONE, SEQUENTIAL = "alone", "sequential"


class Conversion:
    """The candidates of a conversion, by seed and name.

    Attributes:
        original: what rows call the dense model.
        first_seed: the one whose models are saved.
    """

    def __init__(self, config: ConvertConfig, run: DistillationRun):
        self.config, self.run, self.first_seed = config, run, config.seeds[0]
        # The name of the original is that of earlier rows, where its folder was renamed since.
        before = (row.original for row in run.rows(ConvertLayerRow))
        self.original = next(before, None) or run.model_dir.absolute().name

    def append(self, *new: OfConversion) -> None:
        """Keep rows, with what tells this conversion from others."""
        told = (replace(row, original=self.original, run_ffn=self.config.ffn) for row in new)
        self.run.append(*told)

    @cached_property
    def candidates(self) -> dict[int, dict[str, Candidate]]:
        """What is trained, by seed and name."""
        size, width = self.run.hidden_size, self._equal_latency_width()
        return {seed: candidates(self.config, size, seed, width) for seed in self.config.seeds}

    def _equal_latency_width(self) -> int | None:
        """Return how wide a dense layer has the tree's latency: timed once in a run's life."""
        if not self.config.controls:
            return None
        if not (found := self.run.rows(ConvertTimeRow)):
            row = time_equal_width(
                self.run.hidden_size,
                self.config.ffn,
                self.first_seed,
                on_width=lambda what: self.run.on_status(what, 0, 1),
            )
            found = self.run.append(row)
        return found[0].width

    @property
    def models(self) -> list[tuple[int, str]]:
        """Seeds and names of the candidates that become whole models."""
        return [
            (seed, name)
            for seed, found in self.candidates.items()
            for name, candidate in found.items()
            if candidate.is_model
        ]

    def weights(self, seed: int, layer_id: int, name: str, stage: str) -> Path:
        """Return the file of a trained FF layer."""
        return self.run.work / f"{name}.seed{seed}.layer{layer_id}.{stage}.safetensors"

    def distilled_sequentially(self, seed: int, name: str) -> set[int]:
        """Return the layers of a model that were distilled sequentially so far."""
        found = self.run.rows(ConvertSequentialRow)
        return {row.layer for row in found if (row.seed, row.model) == (seed, name)}

    def student(self, seed: int, name: str) -> PreTrainedModel:
        """Return the teacher's copy with the FF layers of a candidate as they are so far."""
        run, ffn = self.run, self.candidates[seed][name].ffn
        ffns = [ffn if layer_id in run.layer_ids else None for layer_id in range(run.n_layers)]
        if self.config.start is not None:
            torch.manual_seed(seed)
            student = run.student(ffns, {})
            go_on_from(student, Path(self.config.start))
            return student
        learned = self.distilled_sequentially(seed, name)
        stages = {id_: SEQUENTIAL if id_ in learned else ALONE for id_ in run.layer_ids}
        return run.student(
            ffns,
            {id_: load_file(self.weights(seed, id_, name, stages[id_])) for id_ in run.layer_ids},
        )

    def folder(self, name: str) -> Path:
        """Return where the model of a candidate, or the teacher, is."""
        if name == "teacher":
            return self.run.model_dir
        return self.run.out_dir if name == "fff" else self.run.out_dir / "controls" / name
