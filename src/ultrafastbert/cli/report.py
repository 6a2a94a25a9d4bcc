"""`ultrafastbert report`: one command for each thing that is written."""

from pathlib import Path
from typing import Annotated

import typer

from ultrafastbert.cli.options import model_folder
from ultrafastbert.cli.progress import showing
from ultrafastbert.cli.streams import echo

report_app = typer.Typer(
    name="report", help="Turn result rows into tables and figures.", no_args_is_help=True
)


@report_app.command("write")
def report_write(
    folder: Annotated[Path, typer.Argument(help="Folder with rows (*.jsonl, at any depth).")],
    title: Annotated[str, typer.Option(help="Heading.")] = "UltraFastBERT results",
) -> None:
    """Write report.md, report.html and figures from the rows of a folder."""
    from ultrafastbert.report import write_report

    with showing() as show:
        show(f"drawing figures and writing the report of {folder}")
        written = write_report(folder, folder, title)
    echo(written)


@report_app.command("readme")
def report_readme(
    readme: Annotated[Path, typer.Argument(help="The file with the markers.")] = Path("README.md"),
    rows: Annotated[Path, typer.Argument(help="Folder of rows.")] = Path("results"),
) -> None:
    """Renew the tables of the README from the rows of the repository."""
    from ultrafastbert.report import update_readme

    unchanged = update_readme(readme, rows)
    echo(f"{readme} is {'as the rows give it' if unchanged else 'renewed'}")


@report_app.command("card")
def report_card(
    model: Annotated[Path, typer.Argument(help="Folder of a model.")],
    rows: Annotated[
        Path | None, typer.Option(help="File or folder of further result rows, of benchmarks.")
    ] = None,
) -> None:
    """Write or renew the model card (README.md) of a model's folder, with its results.

    A README.md that somebody wrote or edited is kept, and so are those of other models.
    """
    from ultrafastbert.report import write_model_card

    written = write_model_card(model_folder(model), rows)
    path = model / "README.md"
    echo(path if written else f"{path} is kept as it is: not written here")
