"""`ultrafastbert diagnose`."""

from pathlib import Path
from typing import Annotated

import typer

from ultrafastbert.cli.options import ROWS, Text, kept_rows, model_folder
from ultrafastbert.cli.progress import showing
from ultrafastbert.cli.streams import echo


def diagnose_command(
    model: Annotated[Path, typer.Argument(help="Folder of a model, fast or dense.")],
    text: Text,
    ffn: Annotated[
        str | None,
        typer.Option(help="Layer that would replace those of a dense model, KxD or KxDxL."),
    ] = None,
    tokens: Annotated[int, typer.Option(help="Tokens to read of the text.")] = 50_000,
    max_length: Annotated[int, typer.Option(help="Tokens to read of a text or a pair.")] = 128,
    seed: Annotated[int, typer.Option(help="Seed of everything drawn.")] = 0,
    figures: Annotated[Path | None, typer.Option(help="Folder for a figure of each layer.")] = None,
    rows: Annotated[Path | None, typer.Option(help=ROWS)] = None,
) -> None:
    """Show how a fast model uses its leaves, or predict how well a tree will fit a dense one.

    For a converted or UltraFastBERT model: leaves visited, entropy, dead and
    over-full leaves, and the top tokens of regions. For a dense encoder: per
    FF layer, the FVU of simple predictions by regions of its inputs, beside a dense
    layer as wide as a token's path.
    """
    with showing(kept_rows(rows)) as show:
        show("loading the library")
        from ultrafastbert.distill import DiagnoseConfig, diagnose
        from ultrafastbert.report import usage_tables
        from ultrafastbert.report.usage_figures import draw_diagnosis
        from ultrafastbert.runs.outputs import check_folder

        if figures is not None:
            check_folder(figures)
        config = DiagnoseConfig(ffn, tokens, max_length, seed)
        found = diagnose(model_folder(model), text, config, rows, show)
        if figures is not None:
            show("drawing figures")
            draw_diagnosis(found, figures)
    tables = (
        usage_tables.usage_table(found),
        usage_tables.region_table(found),
        usage_tables.clusterability_table(found),
    )
    echo("\n".join(table for table in tables if table))
