"""The FF layers of a sweep: every candidate learns every layer, for a short time."""

import itertools
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

from safetensors.torch import load_file
from transformers import PreTrainedModel

from ultrafastbert.distill.layers import learn
from ultrafastbert.distill.run import DistillationRun
from ultrafastbert.distill.sweep.allocation import Choice
from ultrafastbert.distill.sweep.config import SweepConfig
from ultrafastbert.distill.sweep.held_out import HeldOut
from ultrafastbert.distill.sweep.variants import with_feedforwards
from ultrafastbert.distill.teacher.capture import Parts
from ultrafastbert.models.converted.feedforward import ConvertedFeedForward
from ultrafastbert.rows.conversion import ConvertLayerRow
from ultrafastbert.rows.row import Row

R = TypeVar("R", bound=Row)


def name_of(choice: Choice) -> str:
    """Return how files and folders of what is made by a choice are named."""
    return "-".join((candidate or "original").replace(":", "") for candidate in choice)


class SweepLayers:
    """Trained FF layers in a folder, and models with them."""

    def __init__(self, config: SweepConfig, run: DistillationRun):
        self.config, self.run, self.n_layers = config, run, run.n_layers
        self.on_status = run.on_status
        for candidate in config.trained:
            ConvertedFeedForward(run.hidden_size, candidate)  # what cannot be made is an error now
        self._feedforwards: dict[tuple[int, str], ConvertedFeedForward] = {}

    def rows(self, kind: type[R]) -> list[R]:
        """Return the rows of a class so far."""
        return self.run.rows(kind)

    def train(self) -> None:
        """Train the layers that are not trained yet, each with a `ConvertLayerRow`."""
        done = {(row.layer, row.ffn) for row in self.rows(ConvertLayerRow)}
        cases = itertools.product(range(self.n_layers), self.config.trained)
        if left := [case for case in cases if case not in done]:
            captured = self.run.captured()
            for layer_id, candidate in left:
                self._train(layer_id, candidate, captured[layer_id])
        self.run.remove("train", "validation")

    def _train(self, layer_id: int, candidate: str, parts: Parts) -> None:
        feedforward = ConvertedFeedForward(self.run.hidden_size, candidate)
        row = learn(
            self.run,
            ConvertLayerRow,
            feedforward,
            candidate,
            layer_id,
            parts,
            self.config.training(candidate),
            f"layer {layer_id}: {candidate}",
            self._weights(layer_id, candidate),
        )
        self.run.append(replace(row, fvu_states=self._effect(layer_id, feedforward)))

    @cached_property
    def held_out(self) -> HeldOut:
        """Held-out text with the original's hidden states."""
        self.on_status("running the original on held-out text", 0, None)
        run = self.run
        return HeldOut(run.teacher, run.tokenizer, run.texts("validation"), run.max_length)

    def _effect(self, layer_id: int, feedforward: ConvertedFeedForward) -> float:
        """Return what one FF layer does to the last hidden states of the model: their FVU."""
        alone = [feedforward if i == layer_id else None for i in range(self.n_layers)]
        return self.held_out.fvu(with_feedforwards(self.run.teacher, self.run.location, alone))

    def _weights(self, layer_id: int, candidate: str) -> Path:
        return self.run.work / f"layer{layer_id}.{name_of((candidate,))}.safetensors"

    def _feedforward(self, layer_id: int, candidate: str) -> ConvertedFeedForward:
        if (layer_id, candidate) not in self._feedforwards:
            feedforward = ConvertedFeedForward(self.run.hidden_size, candidate)
            feedforward.load_state_dict(load_file(self._weights(layer_id, candidate)))
            self._feedforwards[layer_id, candidate] = feedforward.eval()
        return self._feedforwards[layer_id, candidate]

    def variant(self, choice: Choice) -> PreTrainedModel:
        """Return a model by a choice, to be measured: it shares all other weights."""
        chosen = [self._feedforward(i, name) if name else None for i, name in enumerate(choice)]
        return with_feedforwards(self.run.teacher, self.run.location, chosen)

    def converted(self, choice: Choice) -> PreTrainedModel:
        """Return a model by a choice, to be saved."""
        states = {
            layer_id: self._feedforward(layer_id, name).state_dict()
            for layer_id, name in enumerate(choice)
            if name
        }
        return self.run.student(choice, states)

    def quality(self, model: PreTrainedModel) -> dict[str, Any]:
        """Return fields of rows: FVU of a model's last hidden states, and its validation scores."""
        return {
            "fvu_states": self.held_out.fvu(model),
            "scores": self.run.scores(model, "validation"),
        }
