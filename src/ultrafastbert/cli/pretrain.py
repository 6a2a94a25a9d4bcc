"""`ultrafastbert pretrain`."""

from pathlib import Path
from typing import Annotated, Any

import typer

from ultrafastbert.cli.options import FFN, Resume, kept_rows
from ultrafastbert.cli.progress import TrainingProgress, showing
from ultrafastbert.cli.streams import echo
from ultrafastbert.runs import run_folder
from ultrafastbert.train.pretrain import RECIPES, get_recipe, pretrain


def pretrain_command(
    out: Annotated[Path, typer.Argument(help="New folder for the model.")],
    text: Annotated[
        list[str], typer.Option(help="Text to read: file, folder or hf:NAME. Repeatable.")
    ],
    validation: Annotated[
        list[str] | None,
        typer.Option(help="Text to validate on; by default every twentieth document of --text."),
    ] = None,
    recipe: Annotated[str, typer.Option(help=f"One of {', '.join(RECIPES)}.")] = "small",
    ffn: Annotated[str | None, typer.Option(help=FFN)] = None,
    tokens: Annotated[int | None, typer.Option(help="Budget in tokens.")] = None,
    minutes: Annotated[
        float | None, typer.Option(help="Budget in time, measured before the run starts.")
    ] = None,
    tokenizer: Annotated[
        str | None,
        typer.Option(help="Model folder, vocab.txt or hub name; by default one is trained."),
    ] = None,
    vocab_size: Annotated[int | None, typer.Option(help="Of a tokenizer to train.")] = None,
    learning_rate: Annotated[float | None, typer.Option(help="At the peak.")] = None,
    batch_size: Annotated[int | None, typer.Option(help="Rows of a step, after the ramp.")] = None,
    seq_length: Annotated[int, typer.Option(help="Tokens of a row.")] = 128,
    seed: Annotated[int, typer.Option(help="Of weights, order and masks.")] = 0,
    name: Annotated[str | None, typer.Option(help="Of the model in tables.")] = None,
    cache_dir: Annotated[Path | None, typer.Option(help="For packed text; by default OUT.")] = None,
    resume: Resume = False,
) -> None:
    """Pretrain a masked language model by the crammedBERT recipe."""
    from ultrafastbert.data.corpus import prepare_corpus
    from ultrafastbert.data.text import text_apart_from
    from ultrafastbert.report import write_model_card
    from ultrafastbert.report.tables import pretrain_table
    from ultrafastbert.train.pretrain.calibration import tokens_for_minutes
    from ultrafastbert.train.pretrain.training import SETTINGS

    if tokenizer is not None and vocab_size is not None:
        raise ValueError(f"give one of --tokenizer ({tokenizer}) and --vocab-size ({vocab_size})")
    if tokens is not None and minutes is not None:
        raise ValueError(f"give one of --tokens ({tokens}) and --minutes ({minutes})")
    given = {
        "budget_tokens": tokens,
        "learning_rate": learning_rate,
        "batch_size": batch_size,
        "ffn": ffn,
    }
    changes: dict[str, Any] = {k: v for k, v in given.items() if v is not None}
    default_size = get_recipe(recipe)(**changes).model.vocab_size
    with run_folder.locked(out), showing(kept_rows(out / "rows.jsonl")) as show:
        run_folder.check(out, SETTINGS, resume)
        run_folder.check_inputs(
            out, *text, *(validation or ()), *([tokenizer] if tokenizer else ())
        )

        def preparing(what: str, n_tokens: int) -> None:
            show(f"preparing {what}{' (tokens)' if n_tokens else ''}", n_tokens)

        show("reading text")
        corpus = prepare_corpus(
            text_apart_from(text, out),
            cache_dir or out / "data",
            text_apart_from(validation, out) if validation else None,
            tokenizer,
            vocab_size or default_size,
            seq_length,
            preparing,
        )
        config = get_recipe(recipe)(vocab_size=len(corpus.tokenizer), seed=seed, **changes)
        config.model.pad_token_id = corpus.tokenizer.pad_token_id
        config.model.max_position_embeddings = max(seq_length, config.model.max_position_embeddings)
        if minutes is not None:
            show("measuring speed")
            config = tokens_for_minutes(config, minutes, seq_length, out)
        show("building the model")
        row = pretrain(
            config,
            corpus.train,
            corpus.validation,
            corpus.tokenizer,
            out,
            name or config.model.ffn_name,
            resume,
            [TrainingProgress(show, name or config.model.ffn_name)],
        )
    if run_folder.is_main_process():
        write_model_card(out)
        echo(pretrain_table([row]))
