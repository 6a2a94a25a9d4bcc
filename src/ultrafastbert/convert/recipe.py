"""Converting a dense encoder: capture, layer-wise distillation beside controls, result rows."""

import dataclasses
import itertools
import shutil
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import NamedTuple

from datasets import Dataset
from safetensors.torch import load_file, save_file
from transformers import AutoTokenizer, PreTrainedModel, PreTrainedTokenizerBase

from ultrafastbert import glue, rows, run_folder
from ultrafastbert.convert.capture import Captured, capture
from ultrafastbert.convert.folder import load_dense, save_converted
from ultrafastbert.convert.regression import RegressionConfig, regress, unexplained
from ultrafastbert.convert.similarity import sts_spearman
from ultrafastbert.data.text import Source, read_documents, source_key, split_documents
from ultrafastbert.models.architectures import block_of, layers_of
from ultrafastbert.models.converted import converted_copy
from ultrafastbert.models.converted_block import ConvertedBlock

SETTINGS = "convert.json"
# One document in this many is held out, to measure on.
VALIDATION_EVERY = 20
# Official rows of STS-B; the test split is scored where a folder has its labels.
STSB_ROWS = {"train": 5749, "validation": 1500, "test": 1379}

Status = Callable[[str, int, int], None]  # what is being done, how much of it, of how much


@dataclass(frozen=True)
class ConvertConfig:
    """What a dense encoder becomes, and how.

    Attributes:
        ffn: what replaces FF blocks: KxD or KxDxL.
        layers: numbers of the layers to convert, from 0; all by default.
        tokens, validation_tokens: how much of the text is run through the model.
        max_length: tokens of a paragraph that are read.
        steps, batch_tokens, learning_rate: of each layer's training, see `RegressionConfig`.
        controls: whether the controls are made as well.
        seed: of everything drawn.
    """

    ffn: str = "1x7x8"
    layers: tuple[int, ...] | None = None
    tokens: int = 500_000
    validation_tokens: int = 20_000
    max_length: int = 128
    steps: int = 3000
    batch_tokens: int = 2048
    learning_rate: float = 4e-3
    controls: bool = True
    seed: int = 0


class Contestant(NamedTuple):
    """What replaces FF blocks, and where the hyperplanes of its trees come from."""

    ffn: str
    split: str = RegressionConfig.split
    routing_learning_rate: float = RegressionConfig.routing_learning_rate


def contestants(config: ConvertConfig, hidden_size: int) -> dict[str, Contestant]:
    """Return what is trained, by name: the layer wanted, and its controls."""
    wanted = {"fff": Contestant(config.ffn)}
    if not config.controls:
        return wanted
    n_active = ConvertedBlock(hidden_size, config.ffn).n_active
    return wanted | {
        "random": Contestant(config.ffn, "random", 0.0),
        "ff_active": Contestant(f"ff:{n_active}"),
        "none": Contestant("none"),
    }


def convert(
    model_dir: str | Path,
    out_dir: str | Path,
    text: Source,
    config: ConvertConfig | None = None,
    glue_dir: str | Path | None = None,
    resume: bool = False,
    on_status: Status = lambda what, done, total: None,
) -> list[rows.Row]:
    """Convert the dense encoder of a folder into one of another folder; return the result rows.

    Each FF block is replaced by a layer of the family that learns, on plain text, what the block
    makes of its inputs. The folder gets the model with the original's tokenizer and pooling,
    `controls/NAME/` with the same model with other layers, and `rows.jsonl`: a row of kind
    `convert_layer` for each layer and contestant, and one of kind `convert` for each model. With
    `glue_dir`, a folder with `stsb/`, models are scored on STS-B, beside the teacher.

    Raises:
        FileExistsError: if the folder holds a run and `resume` is not set.
        FileNotFoundError, OSError: for a model or text that is not there.
        ValueError: for an unknown architecture or layer, too little text, or too little disk.
    """
    config, out_dir, model_dir = config or ConvertConfig(), Path(out_dir), Path(model_dir)
    run_folder.check(out_dir, SETTINGS, resume)
    pairs = _similar_pairs(glue_dir)
    teacher = load_dense(model_dir)
    tokenizer = AutoTokenizer.from_pretrained(model_dir)
    numbers = _layer_numbers(config, teacher)
    settings = {**asdict(config), "model": str(model_dir.resolve()), "text": source_key(text)}
    run_folder.claim(out_dir, SETTINGS, settings, resume)
    run = _Run(config, teacher, tokenizer, numbers, out_dir, on_status)
    if not run.is_finished:
        run.distill(text)
        run.save(model_dir)
        run.score(pairs)
        shutil.rmtree(out_dir / "work")
    return rows.read_rows(out_dir / "rows.jsonl")


class _Run:
    """One conversion: what was captured, what was trained so far, what is reported."""

    def __init__(
        self,
        config: ConvertConfig,
        teacher: PreTrainedModel,
        tokenizer: PreTrainedTokenizerBase,
        numbers: tuple[int, ...],
        out_dir: Path,
        on_status: Status,
    ):
        self.config, self.teacher, self.tokenizer = config, teacher, tokenizer
        self.numbers, self.out_dir, self.on_status = numbers, out_dir, on_status
        self.work, self.rows_path = out_dir / "work", out_dir / "rows.jsonl"
        self.contestants = contestants(config, teacher.config.hidden_size)

    def distill(self, text: Source) -> None:
        """Train what is not trained yet, layer by layer."""
        cases = list(itertools.product(self.numbers, self.contestants))
        left = [case for case in cases if not self._is_done(*case)]
        if not left:
            return
        train = self._captured(text, validation=False)
        validation = self._captured(text, validation=True)
        for layer, name in left:
            self._train(layer, name, train[layer], validation[layer])

    def _captured(self, text: Source, validation: bool) -> list[Captured]:
        part = "validation" if validation else "train"
        n_tokens = self.config.validation_tokens if validation else self.config.tokens
        documents = split_documents(read_documents(text), VALIDATION_EVERY, validation)
        return capture(
            self.teacher,
            self.tokenizer,
            (line for document in documents for line in document.splitlines()),
            n_tokens,
            self.work / part,
            self.config.max_length,
            lambda n: self.on_status(f"reading text ({part})", n, n_tokens),
        )

    def _train(self, layer: int, name: str, train: Captured, validation: Captured) -> None:
        contestant, config = self.contestants[name], self.config
        block = ConvertedBlock(self.teacher.config.hidden_size, contestant.ffn)
        options = RegressionConfig(
            config.steps,
            config.batch_tokens,
            config.learning_rate,
            contestant.split,
            contestant.routing_learning_rate,
            config.seed,
        )
        what = f"layer {layer}: {contestant.ffn} ({name})"
        regress(block, train, options, lambda step: self.on_status(what, step, config.steps))
        save_file(block.state_dict(), self._weights(layer, name))
        row = {
            "kind": "convert_layer",
            "model": name,
            "layer": layer,
            "ffn": contestant.ffn,
            "n_active": block.n_active,
            "unexplained": unexplained(block, validation),
            **asdict(options),
        }
        rows.append_row(self.rows_path, row)

    def _weights(self, layer: int, name: str) -> Path:
        return self.work / f"{name}.layer{layer}.safetensors"

    def _rows(self, kind: str) -> list[rows.Row]:
        return rows.read_rows(self.rows_path, kind) if self.rows_path.exists() else []

    def _is_done(self, layer: int, name: str) -> bool:
        trained = [(row["layer"], row["model"]) for row in self._rows("convert_layer")]
        return (layer, name) in trained

    @property
    def is_finished(self) -> bool:
        """Whether models were saved and scored."""
        return bool(self._rows("convert"))

    def save(self, model_dir: Path) -> None:
        """Save the converted model and its controls, each with all files of the original."""
        for name in self.contestants:
            save_converted(self._model(name), model_dir, self._folder(name))

    def _folder(self, name: str) -> Path:
        return self.out_dir if name == "fff" else self.out_dir / "controls" / name

    def _model(self, name: str) -> PreTrainedModel:
        """Return the teacher's copy with the blocks of a contestant."""
        block = block_of(self.teacher.config.model_type)
        layers = range(len(layers_of(self.teacher, block)))
        ffn = [self.contestants[name].ffn if i in self.numbers else None for i in layers]
        model = converted_copy(self.teacher, ffn)
        for i in self.numbers:
            new = layers_of(model, block)[i].get_submodule(block.first)
            new.load_state_dict(load_file(self._weights(i, name)))
        return model

    def score(self, pairs: dict[str, Dataset]) -> None:
        """Append a row for each model: layer-wise error, and correlations on similar sentences.

        The share of the gap is 0 for the control without FF layers and 1 for the teacher: what a
        model keeps of the teacher's score says little where no FF layer at all keeps most of it.
        """
        names = [*self.contestants, "teacher"]
        scores = {}
        for done, name in enumerate(names):
            self.on_status(f"scoring {name}", done, len(names))
            model = self.teacher if name == "teacher" else self._model(name)
            scores[name] = self._correlations(model, pairs)
        rows.append_rows(self.rows_path, [self._row(name, scores) for name in names])

    def _correlations(self, model: PreTrainedModel, pairs: dict[str, Dataset]) -> dict[str, float]:
        return {
            split: sts_spearman(model, self.tokenizer, dataset) for split, dataset in pairs.items()
        }

    def _row(self, name: str, scores: dict[str, dict[str, float]]) -> rows.Row:
        layers = [row for row in self._rows("convert_layer") if row["model"] == name]
        row: rows.Row = {"kind": "convert", "model": name, **asdict(self.config)}
        row["ffn"] = layers[0]["ffn"] if layers else "original"
        if layers:
            row["n_active"] = layers[0]["n_active"]
            row["unexplained"] = sum(layer["unexplained"] for layer in layers) / len(layers)
        for split, spearman in scores[name].items():
            row[f"stsb_{split}_spearman"] = spearman
            if "none" in scores:
                floor, ceiling = scores["none"][split], scores["teacher"][split]
                row[f"stsb_{split}_gap_recovered"] = (spearman - floor) / (ceiling - floor)
        return row


def _layer_numbers(config: ConvertConfig, teacher: PreTrainedModel) -> tuple[int, ...]:
    n_layers = len(layers_of(teacher, block_of(teacher.config.model_type)))
    numbers = tuple(range(n_layers)) if config.layers is None else config.layers
    for number in numbers:
        if not 0 <= number < n_layers:
            raise ValueError(
                f"layer {number} is not there: the model has layers 0 to {n_layers - 1}"
            )
    return numbers


def _similar_pairs(glue_dir: str | Path | None) -> dict[str, Dataset]:
    """Return the labelled splits of STS-B, or none at all without a folder."""
    if glue_dir is None:
        return {}
    splits = glue.load_task(dataclasses.replace(glue.get_task("stsb"), n_rows=STSB_ROWS), glue_dir)
    return {split: splits[split] for split in ("validation", "test") if split in splits}
