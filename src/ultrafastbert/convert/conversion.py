"""One conversion under way: capture, layers, whole models, rows; what is done is not done again."""

import itertools
from collections.abc import Callable, Iterator
from dataclasses import asdict
from functools import cached_property
from pathlib import Path

from datasets import Dataset
from safetensors.torch import load_file, save_file
from transformers import AutoTokenizer, PreTrainedModel

from ultrafastbert import rows
from ultrafastbert.convert.batches import batches_of
from ultrafastbert.convert.capture import Captured, capture, disk_bytes
from ultrafastbert.convert.end_to_end import EndToEndConfig, distill_end_to_end
from ultrafastbert.convert.equal_time import time_equal_width
from ultrafastbert.convert.folder import load_dense, save_converted
from ultrafastbert.convert.plan import Contestant, ConvertConfig, contestants
from ultrafastbert.convert.regression import regress, unexplained
from ultrafastbert.convert.similarity import sts_spearman
from ultrafastbert.data.text import Source, read_documents, split_documents
from ultrafastbert.models.architectures import block_of, layers_of
from ultrafastbert.models.converted import converted_copy
from ultrafastbert.models.converted_block import ConvertedBlock

# One document in this many is held out, to measure on.
VALIDATION_EVERY = 20
# Tokens to train on, over those to measure on: more than documents, as those differ in length.
VALIDATION_SHARE = 25

Status = Callable[[str, int, int], None]  # what is being done, how much of it, of how much


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
        self.teacher = load_dense(model_dir)
        self.tokenizer = AutoTokenizer.from_pretrained(model_dir)
        self.block = block_of(self.teacher.config.model_type)
        self.n_layers = len(layers_of(self.teacher, self.block))
        self.numbers = _layer_numbers(config.layers, self.n_layers)

    @cached_property
    def contestants(self) -> dict[str, Contestant]:
        """What is trained, by name; a dense layer is timed for it, once in a run's life."""
        return contestants(self.config, self.teacher.config.hidden_size, self._equal_time_width)

    def _equal_time_width(self) -> int:
        if not (found := self._rows("convert_time")):
            row = time_equal_width(
                self.teacher.config.hidden_size,
                self.config.ffn,
                self.config.seed,
                on_width=lambda what: self.on_status(what, 0, 1),
            )
            found = [rows.append_row(self.rows_path, row)]
        return found[0]["width"]

    def distill_layers(self) -> None:
        """Train the blocks that are not trained yet, layer by layer."""
        done = {(row["layer"], row["model"]) for row in self._rows("convert_layer")}
        cases = itertools.product(self.numbers, self.contestants)
        if not (left := [case for case in cases if case not in done]):
            return
        train, validation = self._captured("train"), self._captured("validation")
        for layer, name in left:
            self._train(layer, name, train[layer], validation[layer])

    def _captured(self, part: str) -> dict[int, Captured]:
        config = self.config
        n_tokens = config.tokens if part == "train" else config.tokens // VALIDATION_SHARE
        size = disk_bytes(n_tokens, self.teacher.config.hidden_size, len(self.numbers))
        what = f"reading text ({part}, {size / 2**30:.2f} GiB on disk)"
        return capture(
            self.teacher,
            self.tokenizer,
            self._paragraphs(part),
            n_tokens,
            self.numbers,
            self.work / part,
            config.max_length,
            lambda n: self.on_status(what, n, n_tokens),
        )

    def _paragraphs(self, part: str) -> Iterator[str]:
        documents = read_documents(self.text)
        for document in split_documents(documents, VALIDATION_EVERY, part == "validation"):
            yield from document.splitlines()

    def _train(self, layer: int, name: str, train: Captured, validation: Captured) -> None:
        ffn, training, _ = self.contestants[name]
        block = ConvertedBlock(self.teacher.config.hidden_size, ffn)
        what = f"layer {layer}: {ffn} ({name})"
        regress(block, train, training, lambda step: self.on_status(what, step, training.steps))
        save_file(block.state_dict(), self._weights(layer, name))
        row = {
            "kind": "convert_layer",
            "model": name,
            "layer": layer,
            "ffn": ffn,
            "n_active": block.n_active,
            "unexplained": unexplained(block, validation),
            **asdict(training),
        }
        rows.append_row(self.rows_path, row)

    def _weights(self, layer: int, name: str) -> Path:
        return self.work / f"{name}.layer{layer}.safetensors"

    def _rows(self, kind: str) -> list[rows.Row]:
        return rows.read_rows(self.rows_path, kind) if self.rows_path.exists() else []

    def finish_models(self, pairs: dict[str, Dataset]) -> None:
        """Train whole models end to end, save and score them, each with a row; the teacher last."""
        done = {row["model"] for row in self._rows("convert")}
        models = [name for name, contestant in self.contestants.items() if contestant.is_model]
        for name in (name for name in models if name not in done):
            model = self._model(name)
            self._train_end_to_end(name, model)
            folder = self.out_dir if name == "fff" else self.out_dir / "controls" / name
            save_converted(model, self.model_dir, folder)
            self._score(name, model, pairs)
        if "teacher" not in done:
            self._score("teacher", self.teacher, pairs)

    def _model(self, name: str) -> PreTrainedModel:
        """Return the teacher's copy with the blocks of a contestant."""
        ffn = self.contestants[name].ffn
        in_layers = [ffn if layer in self.numbers else None for layer in range(self.n_layers)]
        model = converted_copy(self.teacher, in_layers)
        for number in self.numbers:
            new = layers_of(model, self.block)[number].get_submodule(self.block.first)
            new.load_state_dict(load_file(self._weights(number, name)))
        return model

    def _train_end_to_end(self, name: str, model: PreTrainedModel) -> None:
        config = EndToEndConfig(self.config.end_to_end_steps)
        # The text again and again.
        texts = (text for _ in itertools.count() for text in self._paragraphs("train"))
        batches = batches_of(self.tokenizer, texts, self.config.max_length)
        what = f"end to end: {self.contestants[name].ffn} ({name})"
        distill_end_to_end(
            model,
            self.teacher,
            batches,
            config,
            lambda step: self.on_status(what, step, config.steps),
        )

    def _score(self, name: str, model: PreTrainedModel, pairs: dict[str, Dataset]) -> None:
        row: rows.Row = {"kind": "convert", "model": name, **asdict(self.config)}
        layers = [layer for layer in self._rows("convert_layer") if layer["model"] == name]
        row["ffn"] = layers[0]["ffn"] if layers else None
        row["n_active"] = layers[0]["n_active"] if layers else None
        for split, dataset in pairs.items():
            self.on_status(f"scoring {name} on STS-B ({split})", 0, 1)
            row[f"stsb_{split}_spearman"] = sts_spearman(model, self.tokenizer, dataset)
        rows.append_row(self.rows_path, row)


def _layer_numbers(layers: tuple[int, ...] | None, n_layers: int) -> tuple[int, ...]:
    numbers = tuple(range(n_layers)) if layers is None else layers
    for number in numbers:
        if not 0 <= number < n_layers:
            raise ValueError(
                f"layer {number} is not there: the model has layers 0 to {n_layers - 1}"
            )
    return numbers
