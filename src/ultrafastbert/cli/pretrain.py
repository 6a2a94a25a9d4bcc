"""`ultrafastbert pretrain`."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ultrafastbert.cli.options import FFN, RECIPES, ModelName, Resume, Seed, Text, kept_rows
from ultrafastbert.cli.progress import showing
from ultrafastbert.cli.streams import echo
from ultrafastbert.runs.status import Show

if TYPE_CHECKING:
    from ultrafastbert.data.corpus import Corpus
    from ultrafastbert.train.pretrain import PretrainConfig

Out = Annotated[Path, typer.Argument(help="New folder for the model.")]
Validation = Annotated[
    list[str] | None,
    typer.Option(help="Text to validate on; default: every twentieth document of --text."),
]
Recipe = Annotated[str, typer.Option(help=f"Sizes and schedule: {RECIPES}.")]
Ffn = Annotated[str | None, typer.Option(help=f"{FFN} Default: the recipe's.")]
Tokens = Annotated[int | None, typer.Option(help="Tokens to read in all; default: the recipe's.")]
Minutes = Annotated[
    float | None,
    typer.Option(help="Instead of --tokens: train for so long; the speed is measured first."),
]
Tokenizer = Annotated[
    str | None,
    typer.Option(help="Model folder, vocab.txt or hub name; default: train one on the text."),
]
VocabSize = Annotated[
    int | None, typer.Option(help="Of the tokenizer to train; default: the recipe's.")
]
LearningRate = Annotated[
    float | None, typer.Option(help="At the peak; lower it where the loss diverges.")
]
BatchSize = Annotated[int | None, typer.Option(help="Rows per step, after the batch ramp.")]
SeqLength = Annotated[int, typer.Option(help="Tokens per row.")]
CacheDir = Annotated[
    Path | None, typer.Option(help="For packed text, to share it among runs; default: OUT/data.")
]


@dataclass(frozen=True)
class _Texts:
    """What is read, and how it becomes rows of tokens."""

    text: list[str]
    validation: list[str] | None
    tokenizer: str | None
    vocab_size: int | None
    seq_length: int
    cache_dir: Path | None


@dataclass(frozen=True)
class _Training:
    """What is trained; `changes` are those of the recipe."""

    recipe: str
    changes: dict[str, Any]
    minutes: float | None
    seed: int
    name: str | None


def pretrain_command(
    out: Out,
    text: Text,
    validation: Validation = None,
    recipe: Recipe = "small",
    ffn: Ffn = None,
    tokens: Tokens = None,
    minutes: Minutes = None,
    tokenizer: Tokenizer = None,
    vocab_size: VocabSize = None,
    learning_rate: LearningRate = None,
    batch_size: BatchSize = None,
    seq_length: SeqLength = 128,
    seed: Seed = 0,
    name: ModelName = None,
    cache_dir: CacheDir = None,
    resume: Resume = False,
) -> None:
    """Pretrain a masked language model by the crammedBERT recipe.

    It reads plain text, trains a tokenizer, and writes a model that the Auto
    classes load. To know what the tree is worth, train a control as well, such
    as --ffn ff:128, with the same text and seed.
    """
    if tokenizer is not None and vocab_size is not None:
        raise ValueError(f"give one of --tokenizer ({tokenizer}) and --vocab-size ({vocab_size})")
    if tokens is not None and minutes is not None:
        raise ValueError(f"give one of --tokens ({tokens}) and --minutes ({minutes})")
    given = {"budget_tokens": tokens, "learning_rate": learning_rate, "batch_size": batch_size}
    changes = {key: value for key, value in {**given, "ffn": ffn}.items() if value is not None}
    texts = _Texts(text, validation, tokenizer, vocab_size, seq_length, cache_dir)
    _pretrain(out, texts, _Training(recipe, changes, minutes, seed, name), resume)


def _pretrain(out: Path, texts: _Texts, training: _Training, resume: bool) -> None:
    with showing(kept_rows(out / "rows.jsonl")) as show:
        show("loading the library")
        from ultrafastbert.cli.training_progress import TrainingProgress
        from ultrafastbert.report import write_model_card
        from ultrafastbert.report.tables import pretrain_table
        from ultrafastbert.runs import run_folder
        from ultrafastbert.train.pretrain import get_recipe, pretrain
        from ultrafastbert.train.pretrain.training import SETTINGS

        default_size = get_recipe(training.recipe)(**training.changes).model.vocab_size
        inputs = [*texts.text, *(texts.validation or ()), *filter(None, [texts.tokenizer])]
        with run_folder.run_in(out, SETTINGS, resume, inputs):
            corpus = _corpus(out, texts, default_size, show)
            config = _config(out, texts, training, corpus, show)
            name = training.name or config.model.ffn_name
            show("building the model")
            row = pretrain(
                config,
                corpus.train,
                corpus.validation,
                corpus.tokenizer,
                out,
                name,
                resume,
                [TrainingProgress(show, name)],
            )
    if run_folder.is_main_process():
        write_model_card(out)
        echo(pretrain_table([row]))


def _corpus(out: Path, texts: _Texts, default_size: int, show: Show) -> "Corpus":
    """Return the packed rows of the text, with their tokenizer."""
    from ultrafastbert.data.corpus import prepare_corpus
    from ultrafastbert.data.text import text_apart_from

    def preparing(what: str, n_tokens: int) -> None:
        show(f"preparing {what}", n_tokens, unit="tokens")

    show("reading text")
    return prepare_corpus(
        text_apart_from(texts.text, out),
        texts.cache_dir or out / "data",
        text_apart_from(texts.validation, out) if texts.validation else None,
        texts.tokenizer,
        texts.vocab_size or default_size,
        texts.seq_length,
        preparing,
    )


def _config(
    out: Path, texts: _Texts, training: _Training, corpus: "Corpus", show: Show
) -> "PretrainConfig":
    """Return the recipe with what was changed, and with the tokens that the minutes allow."""
    from ultrafastbert.train.pretrain import get_recipe
    from ultrafastbert.train.pretrain.calibration import tokens_for_minutes

    config = get_recipe(training.recipe)(
        vocab_size=len(corpus.tokenizer), seed=training.seed, **training.changes
    )
    config.model.pad_token_id = corpus.tokenizer.pad_token_id
    longest = max(texts.seq_length, config.model.max_position_embeddings)
    config.model.max_position_embeddings = longest
    if training.minutes is not None:
        show("measuring speed")
        config = tokens_for_minutes(config, training.minutes, texts.seq_length, out)
        show(f"{training.minutes:g} minutes are enough for {config.budget_tokens:,} tokens")
    return config
