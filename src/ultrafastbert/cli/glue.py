"""`ultrafastbert glue`."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ultrafastbert.cli.options import ROWS, ModelFolder, kept_rows, numbers
from ultrafastbert.cli.progress import showing
from ultrafastbert.cli.streams import echo

if TYPE_CHECKING:
    from ultrafastbert.train.finetune import Progress


Task = Annotated[
    list[str] | None, typer.Option(help="Such as cola. Repeatable; default: all nine.")
]
DataDir = Annotated[
    Path | None,
    typer.Option(help="Folder of TASK/SPLIT.jsonl[.gz]: works offline; default: the hub."),
]
Seeds = Annotated[
    str, typer.Option(help="Comma-separated, a result each: scores of small tasks vary.")
]
Epochs = Annotated[
    int | None, typer.Option(help="Passes over the training rows; default: 5, CoLA 15.")
]
LearningRate = Annotated[float, typer.Option(help="Peak, at the end of the warm-up.")]
BatchSize = Annotated[int, typer.Option(help="Rows per step.")]
MaxTrainRows = Annotated[
    int | None, typer.Option(help="Train on a sample of the rows: for a first look.")
]
Name = Annotated[
    str | None, typer.Option(help="Name of the model in tables; default: its folder's.")
]
RowsFile = Annotated[Path | None, typer.Option(help=ROWS + " Default: MODEL/glue.jsonl.")]


def glue_command(
    model: ModelFolder,
    task: Task = None,
    data_dir: DataDir = None,
    seeds: Seeds = "0",
    epochs: Epochs = None,
    learning_rate: LearningRate = 4e-5,
    batch_size: BatchSize = 16,
    max_train_rows: MaxTrainRows = None,
    name: Name = None,
    rows: RowsFile = None,
) -> None:
    """Fine-tune and evaluate a model on GLUE tasks.

    Results that are in the file of rows are kept: the same command continues
    an interrupted one.
    """
    path = rows or model / "glue.jsonl"
    with showing(kept_rows(path)) as show:
        show("loading the library")
        from ultrafastbert.report import write_model_card
        from ultrafastbert.report.tables import glue_table
        from ultrafastbert.train.finetune import GlueConfig, run_glue

        config = GlueConfig(
            epochs=epochs,
            learning_rate=learning_rate,
            batch_size=batch_size,
            max_train_rows=max_train_rows,
            seeds=numbers(seeds, "seeds"),
        )

        def report(now: "Progress") -> None:
            what = f"{now.task}, seed {now.seed}: {now.stage}"
            show(what, now.step, now.n_steps, now.note, "steps")

        show("reading data")
        results = run_glue(model, task or (), config, data_dir, path, report, model_name=name)
    if rows is None:
        write_model_card(model)
    echo(glue_table(results))
