"""The main job: from text to a trained, fine-tuned, measured model and its report, offline.

A fast feedforward model and its controls (dense twin, dense as narrow as the active neurons, no FF
layer at all) read the same tokens, are fine-tuned on the same task and timed side by side.
"""

import json
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

import torch
from transformers import TrainerCallback

from ultrafastbert.bench import LayerBenchConfig, ModelBenchConfig, bench_layer, bench_model
from ultrafastbert.data import docstrings
from ultrafastbert.data.corpus import Corpus, prepare_corpus, prepare_documents
from ultrafastbert.data.library_task import library_task
from ultrafastbert.data.text import named_sources, source_key, text_apart_from
from ultrafastbert.models import UltraFastBertConfig
from ultrafastbert.models.bert.configuration import parse_ffn
from ultrafastbert.quickstart.documentation import documentation
from ultrafastbert.report import write_model_card, write_report
from ultrafastbert.rows import append_row, append_rows, read_rows
from ultrafastbert.rows.layers import LayerRow
from ultrafastbert.rows.models import ModelRow
from ultrafastbert.rows.row import Row
from ultrafastbert.rows.training import GlueRow
from ultrafastbert.runs import run_folder
from ultrafastbert.runs.outputs import make_folder, replacing
from ultrafastbert.runs.status import Show, duration, show_nothing
from ultrafastbert.train import finetune as glue
from ultrafastbert.train.pretrain import PretrainConfig, get_recipe, pretrain
from ultrafastbert.train.pretrain.calibration import tokens_per_second
from ultrafastbert.train.pretrain.training import check_training_memory

# GLUE tasks that are small enough for a first look.
GLUE_TASKS = ("cola", "mrpc", "rte", "stsb")
LIBRARY_TASK = "library"
# Holds the settings of a quickstart.
SETTINGS = "quickstart.json"
# Documentation of the installed libraries, as it was read.
HARVEST = "harvest.json"
SEQ_LENGTH = 128
# Of a budget: measuring the speed of a model reads 20,000.
LEAST_MEASURED_TOKENS = 100_000
# Tokens of a call in the benchmark of the layer.
LAYER_TOKENS = (1, 128, 4096)

R = TypeVar("R", bound=Row)


@dataclass(frozen=True)
class QuickstartConfig:
    """What the quickstart trains and measures.

    Attributes:
        ffn: the fast feedforward layer, KxD or KxDxL.
        recipe: name of the pretraining recipe, see `ultrafastbert.train.pretrain.RECIPES`.
        budget_tokens: tokens that each model reads.
        text: files, folders or hub data sets; by default the documentation strings of the
            installed libraries.
        glue_dir: local GLUE data to fine-tune on; by default the task is to tell which library a
            sentence documents.
        n_train, n_validation: sentences of that task.
        epochs, learning_rate: of fine-tuning.
        bench_seconds: time for each case of the benchmarks.
        seed: of everything drawn.
        seeds: models that are pretrained with each FF layer, of this seed and those that follow.
            The first are fine-tuned.
    """

    ffn: str = "1x5x16"
    recipe: str = "tiny"
    budget_tokens: int = 1_000_000
    text: tuple[str, ...] = ()
    glue_dir: str | None = None
    n_train: int = 4000
    n_validation: int = 1000
    epochs: int = 3
    learning_rate: float = 5e-4
    bench_seconds: float = 2.0
    seed: int = 0
    seeds: int = 1

    def __post_init__(self):
        if self.seeds < 1:
            raise ValueError(f"seeds={self.seeds} must be at least 1")
        object.__setattr__(self, "text", tuple(named_sources(self.text, "text")))
        if parse_ffn(self.ffn)["ffn_type"] != "fff":
            raise ValueError(f"ffn={self.ffn!r} must be a fast feedforward layer, such as 1x5x16")
        get_recipe(self.recipe)(ffn=self.ffn, budget_tokens=self.budget_tokens, seed=self.seed)


def quickstart(
    out_dir: str | Path,
    config: QuickstartConfig | None = None,
    resume: bool = False,
    on_status: Show = show_nothing,
    callbacks: Callable[[str], list[TrainerCallback]] = lambda name: [],
) -> Path:
    """Run the main job in a folder and return the path of its report.

    The folder gets `model/` and `controls/` (loadable by the Auto classes), those of further seeds
    among the controls, `rows.jsonl`, and `report.md`, `report.html` and figures. `on_status` is
    told what is being done, and at the start how long that takes; `callbacks` gives the Trainer
    callbacks of the pretraining run of a name. With `resume`, what is done already is kept and a
    training run that was cut off goes on from its last checkpoint.

    Raises FileExistsError if the folder holds results of a quickstart and `resume` is not set, or
    something else; ValueError for those of another configuration, text or GLUE data;
    BlockingIOError while another process uses the folder.
    """
    config = config or QuickstartConfig()
    out_dir = Path(out_dir)
    if not (out_dir / SETTINGS).exists():
        run_folder.check_empty(out_dir)
    with run_folder.run_in(out_dir, SETTINGS, resume) as claim:
        text = text_apart_from(config.text, out_dir) if config.text else []
        claim({**asdict(config), **_inputs(config, text)})
        _say_how_long(config, out_dir, on_status)
        on_status("reading text")
        corpus = _corpus(config, text, out_dir / "data", on_status)
        models = _pretrain(config, corpus, out_dir, on_status, callbacks)
        _fine_tune(config, models, out_dir, on_status)
        _measure(models["fff"], config, out_dir, on_status)
        on_status("drawing figures and writing the report")
        for _, _, folder in _models(config, out_dir):
            write_model_card(folder, out_dir)
        return write_report(out_dir, out_dir, "UltraFastBERT quickstart", model_path=models["fff"])


def _inputs(config: QuickstartConfig, text: Sequence[str | Path]) -> dict[str, str]:
    """Return digests of all inputs, which are looked at before hours of work depend on them."""
    labelled = {
        f"{task} {split}": dataset
        for task in (GLUE_TASKS if config.glue_dir else ())
        for split, dataset in glue.load_task(glue.get_task(task), config.glue_dir).items()
    }
    return {
        "text": source_key(text) if text else "",
        "glue_dir": glue.data_digest(labelled) if labelled else "",
    }


def controls(model: UltraFastBertConfig) -> dict[str, str]:
    """Return the FF layers to compare, by name: the model's own and its dense controls."""
    return {
        "fff": model.ffn_name,
        "ff": f"ff:{model.n_neurons}",
        "ff_active": f"ff:{model.n_active}",
        "none": "none",
    }


def _corpus(
    config: QuickstartConfig, text: Sequence[str | Path], cache_dir: Path, on_status: Show
) -> Corpus:
    vocab_size = get_recipe(config.recipe)().model.vocab_size

    def progress(what: str, n_tokens: int) -> None:
        on_status(f"preparing {what}", n_tokens, unit="tokens")

    if text:
        return prepare_corpus(
            text,
            cache_dir,
            vocab_size=vocab_size,
            seq_length=SEQ_LENGTH,
            on_progress=progress,
        )
    texts = _harvest(cache_dir, on_status)
    key = source_key(cache_dir / HARVEST)
    return prepare_documents(
        lambda: (text.text for text in texts if not docstrings.is_held_out(text)),
        lambda: (text.text for text in texts if docstrings.is_held_out(text)),
        (f"{key} training", f"{key} validation"),
        cache_dir,
        vocab_size=vocab_size,
        seq_length=SEQ_LENGTH,
        on_progress=progress,
    )


def _models(config: QuickstartConfig, out_dir: Path) -> list[tuple[str, int, Path]]:
    """Return the name, seed and folder of each model, all of one seed before the next."""
    names = controls(get_recipe(config.recipe)(ffn=config.ffn).model)
    found = []
    for seed in range(config.seed, config.seed + config.seeds):
        for name in names:
            folder = out_dir / "model" if name == "fff" else out_dir / "controls" / name
            if seed > config.seed:
                folder = out_dir / "controls" / f"{name}.seed{seed}"
            found.append((name, seed, folder))
    return found


def _run(config: QuickstartConfig, ffn: str, seed: int, **changes: Any) -> PretrainConfig:
    """Return how the model with an FF layer is pretrained."""
    recipe = get_recipe(config.recipe)
    return recipe(ffn=ffn, budget_tokens=config.budget_tokens, seed=seed, **changes)


def _say_how_long(config: QuickstartConfig, out_dir: Path, on_status: Show) -> None:
    """Say how long pretraining takes on this machine, by the speed of a few steps."""
    if config.budget_tokens < LEAST_MEASURED_TOKENS:
        return
    layers = controls(_run(config, config.ffn, config.seed).model)
    models = _models(config, out_dir)
    names = [name for name, _, folder in models if not (folder / "config.json").exists()]
    left = Counter(names)
    if not left:
        return
    seconds, seeds = 0.0, f" and seed, {config.seeds} seeds" if config.seeds > 1 else ""
    for number, (name, times) in enumerate(left.items()):
        on_status("measuring the speed of models", number, len(left), unit="models")
        run = _run(config, layers[name], config.seed)
        check_training_memory(run.model)
        with torch.random.fork_rng(devices=[]):
            seconds += times * config.budget_tokens / tokens_per_second(run, SEQ_LENGTH)
    on_status(
        f"pretraining {', '.join(left)}, {config.budget_tokens:,} tokens each{seeds}, takes about "
        f"{duration(seconds)} on this machine; fine-tuning and timing follow"
    )


def _pretrain(
    config: QuickstartConfig,
    corpus: Corpus,
    out_dir: Path,
    on_status: Show,
    callbacks: Callable[[str], list[TrainerCallback]],
) -> dict[str, Path]:
    """Train all models; return the folders of those of the first seed, by name."""
    layers = controls(_run(config, config.ffn, config.seed).model)
    models = _models(config, out_dir)
    for name, seed, folder in models:
        ffn, title = layers[name], name if config.seeds == 1 else f"{name}, seed {seed}"
        on_status(f"building {title} ({ffn})")
        run = _run(config, ffn, seed, vocab_size=len(corpus.tokenizer))
        pretrain(
            run,
            corpus.train,
            corpus.validation,
            corpus.tokenizer,
            folder,
            name,
            resume=True,
            callbacks=callbacks(title),
        )
    return {name: folder for name, seed, folder in models if seed == config.seed}


def _fine_tune(
    config: QuickstartConfig, models: dict[str, Path], out_dir: Path, on_status: Show
) -> None:
    path = out_dir / "rows.jsonl"
    options = glue.GlueConfig(
        epochs=config.epochs, learning_rate=config.learning_rate, seeds=(config.seed,)
    )

    def report(progress: glue.Progress) -> None:
        what = f"fine-tuning {name} on {progress.task}: {progress.stage}"
        on_status(what, progress.step, progress.n_steps, progress.note, "steps")

    if config.glue_dir:
        for name, folder in models.items():
            glue.run_glue(
                folder, GLUE_TASKS, options, config.glue_dir, path, report, model_name=name
            )
        return
    task = library_task(
        _harvest(out_dir / "data", on_status), config.n_train, config.n_validation, config.seed
    )
    sizes = {"train": len(task.train), "validation": len(task.validation)}
    spec = glue.TaskSpec(LIBRARY_TASK, label_names=task.label_names, n_rows=sizes)
    done = {row.model for row in _rows(path, GlueRow)}
    for name in (name for name in models if name not in done):
        row = glue.fine_tune_on(
            models[name],
            spec,
            task.train,
            task.validation,
            config.seed,
            options,
            report,
            model_name=name,
        )
        append_row(path, replace(row, majority_accuracy=task.majority_accuracy))


def _harvest(cache_dir: Path, on_status: Show) -> list[docstrings.LibraryText]:
    """Return the documentation strings of the installed libraries, read once for each folder."""
    path = cache_dir / HARVEST
    if not path.exists():
        make_folder(cache_dir)
        texts = [asdict(text) for text in documentation(on_status)]
        with replacing(path) as file:
            file.write(json.dumps(texts).encode())
    texts = json.loads(path.read_text(encoding="utf-8"))
    return [docstrings.LibraryText(**text) for text in texts]


def _measure(model: Path, config: QuickstartConfig, out_dir: Path, on_status: Show) -> None:
    path = out_dir / "rows.jsonl"

    def progress(done: int, total: int, label: str) -> None:
        on_status("timing", done, total, label, "cases")

    on_status("measuring the machine")
    trained = UltraFastBertConfig.from_pretrained(model)
    if not _rows(path, LayerRow):
        layer = LayerBenchConfig(n_tokens=LAYER_TOKENS, seconds=config.bench_seconds)
        append_rows(path, bench_layer(layer, progress))
    if not _rows(path, ModelRow):
        whole = ModelBenchConfig(trained, seconds=config.bench_seconds)
        append_rows(path, bench_model(whole, progress))


def _rows(path: Path, kind: type[R]) -> list[R]:
    return read_rows(path, kind) if path.exists() else []
