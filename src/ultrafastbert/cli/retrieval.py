"""`ultrafastbert retrieval`."""

from pathlib import Path
from typing import Annotated

import typer

from ultrafastbert.cli.options import ModelFolder, Rows, kept_rows, model_folder
from ultrafastbert.cli.progress import showing
from ultrafastbert.cli.streams import echo


def retrieval_command(
    model: ModelFolder,
    original: Annotated[
        Path | None,
        typer.Option(help="Folder of the model it was made from: scored, too, and compared with."),
    ] = None,
    beside: Annotated[
        list[Path] | None, typer.Option(help="Folder of another model to score. Repeatable.")
    ] = None,
    glue_dir: Annotated[
        Path | None, typer.Option(help="Folder of GLUE files (qnli/, qqp/): question tasks.")
    ] = None,
    text: Annotated[
        list[str] | None,
        typer.Option(help="Plain text it was not trained on: sentence to rest of paragraph."),
    ] = None,
    retrieval: Annotated[
        list[Path] | None,
        typer.Option(help='Your pairs, {"query": ..., "passage": ...} a line. Repeatable.'),
    ] = None,
    rows: Rows = None,
) -> None:
    """Score a sentence encoder on finding what belongs together, beside its original.

    Every passage of a task is a candidate for each of its queries. R@1 is the
    share of queries whose nearest passage is a right one. Tasks without their
    data are left out; documentation of installed libraries is always there.
    """
    kept = rows or model / "rows.jsonl"
    with showing(kept_rows(kept)) as show:
        show("loading the library")
        from ultrafastbert.evaluate.retrieval.recipe import evaluate_retrieval
        from ultrafastbert.evaluate.retrieval.task import Sources
        from ultrafastbert.report.retrieval_table import retrieval_table

        found = evaluate_retrieval(
            model_folder(model),
            Sources(glue_dir, text),
            retrieval or (),
            original and model_folder(original),
            [model_folder(each) for each in beside or ()],
            kept,
            show,
        )
    echo(retrieval_table(found))
