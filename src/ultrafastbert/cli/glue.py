"""`ultrafastbert glue`."""

from pathlib import Path
from typing import Annotated

import typer

from ultrafastbert.cli.options import ROWS, kept_rows, numbers
from ultrafastbert.cli.progress import showing
from ultrafastbert.cli.streams import echo


def glue_command(
    model: Annotated[Path, typer.Argument(help="Folder of a model.")],
    task: Annotated[
        list[str] | None, typer.Option(help="Such as cola. Repeatable; default: all nine.")
    ] = None,
    data_dir: Annotated[
        Path | None, typer.Option(help="Local files DIR/TASK/SPLIT.jsonl[.gz]; default: the hub.")
    ] = None,
    seeds: Annotated[str, typer.Option(help="Comma-separated; one result each.")] = "0",
    epochs: Annotated[int | None, typer.Option(help="Default: 5, CoLA 15.")] = None,
    learning_rate: Annotated[float, typer.Option(help="At the end of the warm-up.")] = 4e-5,
    batch_size: Annotated[int, typer.Option(help="Rows of a step.")] = 16,
    max_train_rows: Annotated[int | None, typer.Option(help="Train on a sample.")] = None,
    name: Annotated[str | None, typer.Option(help="Of the model in tables.")] = None,
    rows: Annotated[Path | None, typer.Option(help=ROWS + " Default: MODEL/glue.jsonl.")] = None,
) -> None:
    """Fine-tune and evaluate a model on GLUE tasks; results that are there already are kept."""
    from ultrafastbert.report import write_model_card
    from ultrafastbert.report.tables import glue_table
    from ultrafastbert.train.finetune import GlueConfig, Progress, run_glue

    config = GlueConfig(
        epochs=epochs,
        learning_rate=learning_rate,
        batch_size=batch_size,
        max_train_rows=max_train_rows,
        seeds=numbers(seeds, "seeds"),
    )
    path = rows or model / "glue.jsonl"
    with showing(kept_rows(path)) as show:

        def report(now: Progress) -> None:
            show(f"{now.task}, seed {now.seed}: {now.stage}", now.step, now.n_steps, now.note)

        show("reading data")
        results = run_glue(
            model,
            task or (),
            config,
            data_dir,
            path,
            report,
            model_name=name,
        )
    if rows is None:
        write_model_card(model)
    echo(glue_table(results))
