"""`ultrafastbert report`: one command for each thing that is written."""

from pathlib import Path
from typing import Annotated

import typer

from ultrafastbert.cli.options import ModelFolder, model_folder
from ultrafastbert.cli.progress import showing
from ultrafastbert.cli.streams import echo

report_app = typer.Typer(
    name="report",
    help="Turn result rows into tables and figures.",
    epilog="Example: ultrafastbert report write RUN_FOLDER",
    no_args_is_help=True,
)


@report_app.command("write")
def report_write(
    folder: Annotated[Path, typer.Argument(help="Folder with rows (*.jsonl, at any depth).")],
    title: Annotated[str, typer.Option(help="Heading.")] = "UltraFastBERT results",
) -> None:
    """Write report.md, report.html and figures from the rows of a folder."""
    with showing(f"report: {folder / 'report.html'}") as show:
        show("drawing figures and writing the report")
        from ultrafastbert.report import write_report

        written = write_report(folder, folder, title)
    echo(written)


@report_app.command("results")
def report_results(
    rows: Annotated[
        Path, typer.Argument(help="Folder of rows with a README.md that has the markers.")
    ] = Path("results"),
    readme: Annotated[
        Path, typer.Option(help="Page for the ten top lines, which has the markers, too.")
    ] = Path("README.md"),
) -> None:
    """Renew the repository's results: all tables, the README's ten lines, the figures (SVG).

    Text is replaced between the lines <!-- results:begin --> and
    <!-- results:end --> of both pages. The figure of latency against
    quality goes to docs/figures beside the README, others to ROWS/figures.
    """
    with showing(answers=True) as show:
        show(f"drawing figures and writing tables from {rows}")
        from ultrafastbert.report import update_results

        unchanged = update_results(rows, readme)
    echo(f"{rows / 'README.md'} and {readme} are {'unchanged' if unchanged else 'renewed'}")


@report_app.command("card")
def report_card(
    model: ModelFolder,
    rows: Annotated[
        Path | None, typer.Option(help="File or folder of further result rows, of benchmarks.")
    ] = None,
) -> None:
    """Write or renew the model card (README.md) of a model's folder, with its results.

    A README.md that somebody wrote or edited is kept, and so are those of other models.
    """
    folder = model_folder(model)
    with showing(answers=True) as show:
        show("writing the model card")
        from ultrafastbert.report import write_model_card

        written = write_model_card(folder, rows)
    path = model / "README.md"
    echo(path if written else f"{path} is kept as it is: not written here")
