"""One conversion under way: capture, layers, whole models, rows; what is done is not done again."""

import itertools
import shutil
from collections.abc import Callable
from dataclasses import asdict, replace
from functools import cached_property
from pathlib import Path

from datasets import Dataset
from safetensors.torch import load_file, save_file
from transformers import PreTrainedModel

from ultrafastbert import rows
from ultrafastbert.data.sampling import Text, texts_of
from ultrafastbert.data.text import Source
from ultrafastbert.distill.end_to_end import EndToEndConfig, distill_end_to_end
from ultrafastbert.distill.equal_latency import time_equal_width
from ultrafastbert.distill.layerwise import layer_row, regress
from ultrafastbert.distill.plan import (
    VALIDATION_SHARE,
    Contestant,
    ConvertConfig,
    contestants,
    tokens_of,
)
from ultrafastbert.distill.sequential import capture_in_sequence
from ultrafastbert.distill.teacher import targets
from ultrafastbert.distill.teacher.capture import Captured, capture, check_disk, disk_bytes
from ultrafastbert.distill.teacher.distance import distance
from ultrafastbert.evaluate.similarity import sts_spearman
from ultrafastbert.interpret.usage import usage_rows
from ultrafastbert.models.converted.architectures import layers_of
from ultrafastbert.models.converted.feedforward import ConvertedBlock
from ultrafastbert.models.converted.folder import check_encoder, open_dense, save_converted
from ultrafastbert.models.converted.model import converted_copy
from ultrafastbert.runs.status import Status, counting
from ultrafastbert.train import finetune as glue

# A trained encoder needs no more, whatever its blocks.
FINE_TUNING = glue.GlueConfig(epochs=3, learning_rate=1e-4, batch_size=32, max_train_rows=8000)

# Stages of blocks, in names of files and folders.
ALONE, IN_SEQUENCE = "alone", "in_sequence"
# Kinds of rows of whole models: before they are trained end to end, and as they are in the end.
LAYERWISE, FINISHED = "convert_layerwise", "convert"

# What all rows of whole models tell of their training.
SETTINGS = (
    "tokens", "steps", "batch_tokens", "in_sequence_steps", "end_to_end_steps", "end_to_end_tokens",
)  # fmt: skip


class Conversion:
    """One conversion: what was captured, what was trained so far, what is reported."""

    def __init__(
        self,
        config: ConvertConfig,
        model_dir: Path,
        text: Source,
        out_dir: Path,
        on_status: Status,
    ):
        self.config, self.model_dir, self.text = config, model_dir, text
        self.out_dir, self.on_status = out_dir, on_status
        self.work, self.rows_path = out_dir / "work", out_dir / "rows.jsonl"
        dense = open_dense(model_dir, config.max_length, config.block, config.layers)
        check_encoder(dense.model, dense.sample)
        self.teacher, self.tokenizer = dense.model, dense.tokenizer
        self.block, self.numbers, self.norms = dense.block, dense.numbers, dense.norms
        self.n_layers = len(layers_of(self.teacher, self.block))

    @cached_property
    def contestants(self) -> dict[int, dict[str, Contestant]]:
        """What is trained, by seed and name."""
        size, width = self.teacher.config.hidden_size, self._equal_time_width()
        return {seed: contestants(self.config, size, seed, width) for seed in self.config.seeds}

    def _equal_time_width(self) -> int | None:
        """Return how wide a dense layer takes the tree's time: timed once in a run's life."""
        if not self.config.controls:
            return None
        if not (found := self._rows("convert_time")):
            row = time_equal_width(
                self.teacher.config.hidden_size,
                self.config.ffn,
                self.first_seed,
                on_width=lambda what: self.on_status(what, 0, 1),
            )
            found = [rows.append_row(self.rows_path, row)]
        return found[0]["width"]

    def check_disk(self) -> None:
        """Raise ValueError where the disk is too small for the larger of the two stages."""
        config, size = self.config, self.teacher.config.hidden_size
        share = 1 + 1 / VALIDATION_SHARE
        layers = disk_bytes(config.tokens, size, len(self.numbers))
        if config.in_sequence_steps:
            layers += disk_bytes(config.tokens, size, 1)
        whole = targets.disk_bytes(config.end_to_end_tokens, size, self.n_layers, self.tokenizer)
        self.on_status(f"needs {share * max(layers, whole) / 2**30:.2f} GiB on disk", 0, None)
        if not self.work.exists():
            check_disk(self.out_dir, int(share * max(layers, whole)))

    def distill_layers(self) -> None:
        """Train the blocks that are not trained yet, layer by layer, then those of models again."""
        if not self._rows("convert_layer"):  # a text that is too short is found at the start
            self._captured("train")
            self._captured("validation")
        done = {(row["seed"], row["layer"], row["model"]) for row in self._rows("convert_layer")}
        cases = [
            (seed, layer, name)
            for seed, layer in itertools.product(self.config.seeds, self.numbers)
            for name in self.contestants[seed]
        ]
        left = [case for case in cases if case not in done]
        again = [case for case in self._models if self._left_in_sequence(*case)]
        if left or again:
            captured = {part: self._captured(part) for part in ("validation", "train")}
            for seed, layer, name in left:
                train, validation = captured["train"][layer], captured["validation"][layer]
                self._train(seed, layer, name, train, validation)
            for seed, name in again:
                self._train_in_sequence(seed, name, captured)
        for part in ("train", "validation", IN_SEQUENCE):
            shutil.rmtree(self.work / part, ignore_errors=True)

    def _texts(self, part: str) -> list[Text]:
        self.on_status("reading text", 0, None)
        return texts_of(self.text, part == "validation")

    def _captured(self, part: str) -> dict[int, Captured]:
        config = self.config
        return capture(
            self.teacher,
            self.tokenizer,
            self._texts(part),
            tokens_of(part, config.tokens),
            self.numbers,
            self.work / part,
            config.max_length,
            self.on_status,
            self.block,
        )

    def _targets(self, part: str) -> targets.Targets:
        config = self.config
        return targets.capture_targets(
            self.teacher,
            self.tokenizer,
            self._texts(part),
            tokens_of(part, config.end_to_end_tokens),
            self.work / "end_to_end" / part,
            config.max_length,
            self.on_status,
        )

    def _train(
        self, seed: int, layer: int, name: str, train: Captured, validation: Captured
    ) -> None:
        ffn, training, _ = self.contestants[seed][name]
        block = ConvertedBlock(self.teacher.config.hidden_size, ffn)
        what = f"layer {layer}: {ffn} ({name}, seed {seed})"
        on_step, norm = counting(self.on_status, what, training.steps), self.norms[layer]
        regress(block, train, training, on_step, norm)
        save_file(block.state_dict(), self._weights(seed, layer, name, ALONE))
        row = layer_row(name, layer, block, training, validation, norm)
        rows.append_row(self.rows_path, row | self._run)

    @property
    def _models(self) -> list[tuple[int, str]]:
        """Seeds and names of the contestants that become whole models."""
        return [
            (seed, name)
            for seed, found in self.contestants.items()
            for name, contestant in found.items()
            if contestant.is_model
        ]

    def _left_in_sequence(self, seed: int, name: str) -> list[int]:
        """Return the layers whose blocks are to learn in sequence: what the first reads stays."""
        if not self.config.in_sequence_steps:
            return []
        learned = self._learned_in_sequence(seed, name)
        return [number for number in sorted(self.numbers)[1:] if number not in learned]

    def _learned_in_sequence(self, seed: int, name: str) -> set[int]:
        """Return the layers of a model whose blocks have learned in sequence so far."""
        found = self._rows("convert_in_sequence")
        return {row["layer"] for row in found if (row["seed"], row["model"]) == (seed, name)}

    def _train_in_sequence(
        self, seed: int, name: str, originals: dict[str, dict[int, Captured]]
    ) -> None:
        """Train the blocks of a model again, each on what those before it make of the text."""
        model = self._model(seed, name)
        for layer in self._left_in_sequence(seed, name):
            of_layer = {part: original[layer] for part, original in originals.items()}
            self._train_again(seed, name, model, layer, of_layer)

    def _train_again(
        self,
        seed: int,
        name: str,
        model: PreTrainedModel,
        layer: int,
        originals: dict[str, Captured],
    ) -> None:
        ffn, training, _ = self.contestants[seed][name]
        training = replace(training, steps=self.config.in_sequence_steps)
        captured = {
            part: capture_in_sequence(
                model,
                self.tokenizer,
                self._texts(part),
                layer,
                original,
                self.norms[layer],
                self.work / IN_SEQUENCE / part,
                self.config.max_length,
                self.on_status,
                self.block,
            )
            for part, original in originals.items()
        }
        block = self._block(model, layer)
        what = f"layer {layer} in sequence: {ffn} ({name}, seed {seed})"
        on_step, norm = counting(self.on_status, what, training.steps), self.norms[layer]
        regress(block, captured["train"], training, on_step, norm, is_new=False)
        save_file(block.state_dict(), self._weights(seed, layer, name, IN_SEQUENCE))
        row = layer_row(name, layer, block, training, captured["validation"], norm)
        row |= {"kind": "convert_in_sequence"} | self._run
        rows.append_row(self.rows_path, row)

    def _weights(self, seed: int, layer: int, name: str, stage: str) -> Path:
        return self.work / f"{name}.seed{seed}.layer{layer}.{stage}.safetensors"

    def _rows(self, kind: str) -> list[rows.Row]:
        return rows.read_rows(self.rows_path, kind) if self.rows_path.exists() else []

    def finish_models(self, pairs: dict[str, Dataset]) -> None:
        """Train whole models end to end and score them before and after; the teacher last.

        Those of the first seed are saved.
        """
        layerwise, done = self._scored(LAYERWISE), self._scored(FINISHED)
        models = [case for case in self._models if case not in done]
        if models:
            validation, train = self._targets("validation"), self._targets("train")
        for seed, name in models:
            model = self._model(seed, name)
            if self.config.end_to_end_steps and (seed, name) not in layerwise:
                self._score(seed, name, model, pairs, validation, LAYERWISE)
            self._train_end_to_end(seed, name, model, train, validation)
            if seed == self.first_seed:
                save_converted(model, self.model_dir, self.folder(name))
                if name == "fff":
                    self._record_usage(model)
            self._score(seed, name, model, pairs, validation)
            shutil.rmtree(self._checkpoints(seed, name), ignore_errors=True)
        if (None, "teacher") not in done:
            self._score(None, "teacher", self.teacher, pairs, self._targets("validation"))

    def _scored(self, kind: str) -> set[tuple[int | None, str]]:
        return {(row["seed"], row["model"]) for row in self._rows(kind)}

    def folder(self, name: str) -> Path:
        """Return where the model of a contestant, or the teacher, is."""
        if name == "teacher":
            return self.model_dir
        return self.out_dir if name == "fff" else self.out_dir / "controls" / name

    def fine_tune(self, glue_dir: Path) -> None:
        """Fine-tune the models that were saved, and the teacher, on the tasks; a row for each."""
        done = {(row["model"], row["task"], row["seed"]) for row in self._rows("convert_task")}
        models = [row for row in self._rows(FINISHED) if row["seed"] in (None, self.first_seed)]
        cases = itertools.product(self.config.tasks, self.config.seeds, models)
        for task, seed, model in cases:
            name = model["model"]
            if (name, task, seed) in done:
                continue
            found = glue.fine_tune(
                self.folder(name), task, seed, FINE_TUNING, glue_dir, self._on_fine_tuning(name)
            )
            of_model = {field: model[field] for field in ("model", "ffn", "n_active", *SETTINGS)}
            row = found | of_model
            rows.append_row(self.rows_path, row | {"kind": "convert_task"} | self._run)

    def _on_fine_tuning(self, name: str) -> Callable[[glue.Progress], None]:
        def report(progress: glue.Progress) -> None:
            what = f"fine-tuning {name} on {progress.task} (seed {progress.seed}): {progress.stage}"
            self.on_status(what, progress.step, progress.n_steps)

        return report

    @property
    def _run(self) -> rows.Row:
        """What tells the rows of this conversion from those of others."""
        return {"original": self._original, "run_ffn": self.config.ffn}

    @cached_property
    def _original(self) -> str:
        """The name of the original: that of earlier rows, where its folder was renamed since."""
        before = (row["original"] for row in self._rows("convert_layer"))
        return next(before, self.model_dir.absolute().name)

    @property
    def first_seed(self) -> int:
        """The seed whose models are saved."""
        return self.config.seeds[0]

    def _contestant(self, seed: int | None, name: str) -> Contestant | None:
        return None if seed is None else self.contestants[seed][name]

    def _model(self, seed: int, name: str) -> PreTrainedModel:
        """Return the teacher's copy with the blocks of a contestant as they are so far."""
        ffn = self.contestants[seed][name].ffn
        in_layers = [ffn if layer in self.numbers else None for layer in range(self.n_layers)]
        model = converted_copy(self.teacher, in_layers, self.block)
        learned = self._learned_in_sequence(seed, name)
        for number in self.numbers:
            stage = IN_SEQUENCE if number in learned else ALONE
            weights = load_file(self._weights(seed, number, name, stage))
            self._block(model, number).load_state_dict(weights)
        return model

    def _block(self, model: PreTrainedModel, number: int) -> ConvertedBlock:
        new = layers_of(model, self.block)[number].get_submodule(self.block.first)
        assert isinstance(new, ConvertedBlock)
        return new

    def _train_end_to_end(
        self,
        seed: int,
        name: str,
        model: PreTrainedModel,
        train: targets.Targets,
        validation: targets.Targets,
    ) -> None:
        config = EndToEndConfig(self.config.end_to_end_steps, seed=seed)
        what = f"end to end: {self.contestants[seed][name].ffn} ({name}, seed {seed})"
        on_step = counting(self.on_status, what, config.steps)
        folder = self._checkpoints(seed, name)
        curve = distill_end_to_end(model, train, config, folder, on_step, validation)
        settings = asdict(self.config)
        of_model = {"model": name, "ffn": self.contestants[seed][name].ffn, "seed": seed}
        of_model |= self._run | {field: settings[field] for field in SETTINGS}
        points = [
            {"kind": "convert_curve", "step": step} | measured | of_model
            for step, measured in curve.items()
        ]
        rows.append_rows(self.rows_path, points)

    def _checkpoints(self, seed: int, name: str) -> Path:
        return self.work / "end_to_end" / f"{name}.seed{seed}"

    def _record_usage(self, model: PreTrainedModel) -> None:
        n_tokens = tokens_of("validation", self.config.tokens)
        found = usage_rows(
            model,
            self.tokenizer,
            self._texts("validation"),
            n_tokens,
            self.config.max_length,
            counting(self.on_status, "leaf usage", n_tokens),
        )
        of_model = {"model": "fff", "seed": self.first_seed}
        rows.append_rows(self.rows_path, [row | of_model for row in found])

    def _score(
        self,
        seed: int | None,
        name: str,
        model: PreTrainedModel,
        pairs: dict[str, Dataset],
        validation: targets.Targets,
        kind: str = FINISHED,
    ) -> None:
        row: rows.Row = {"kind": kind, "model": name, **asdict(self.config), "seed": seed}
        row |= self._run
        del row["seeds"]
        contestant = self._contestant(seed, name)
        row["ffn"] = contestant.ffn if contestant else None
        row["n_active"] = _n_active(contestant, self.teacher.config.hidden_size)
        self.on_status(f"scoring {name}", 0, 1)
        row |= distance(model, validation)
        for split, dataset in pairs.items():
            row[f"stsb_{split}_spearman"] = sts_spearman(model, self.tokenizer, dataset)
        rows.append_row(self.rows_path, row)


def _n_active(contestant: Contestant | None, hidden_size: int) -> int | None:
    return ConvertedBlock(hidden_size, contestant.ffn).n_active if contestant else None
