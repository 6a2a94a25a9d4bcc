"""`ultrafastbert quantize`."""

from pathlib import Path
from typing import Annotated

import typer

from ultrafastbert.cli.options import NewFolder, StsbFolder, kept_rows, model_folder
from ultrafastbert.cli.progress import showing
from ultrafastbert.cli.streams import echo


def quantize_command(
    model: Annotated[Path, typer.Argument(help="Folder of a model with fast layers.")],
    out: NewFolder,
    weight_dtype: Annotated[
        str,
        typer.Option(help="Of the fast layers: int8 (smallest) or bfloat16 (closer to float32)."),
    ] = "int8",
    glue_dir: StsbFolder = None,
) -> None:
    """Store a model in less than half the space, and report what that changes.

    For inference only: quantized layers cannot be trained. Fast layers keep
    their int8 or bfloat16 weights in memory. All other weights are stored in
    bfloat16 and computed with in float32.
    """
    folder = model_folder(model)
    with showing(kept_rows(out / "rows.jsonl")) as show:
        show("loading the library")
        from ultrafastbert.inference.quantize import quantize_model
        from ultrafastbert.report import write_model_card
        from ultrafastbert.report.converted_results import quantize_table

        row = quantize_model(folder, out, weight_dtype, glue_dir, show)
        write_model_card(out)
    echo(quantize_table([row]))


def shrink_command() -> None:
    """Say the name that this command has now."""
    raise ValueError("`ultrafastbert shrink` is now `ultrafastbert quantize`")
