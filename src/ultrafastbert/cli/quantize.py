"""`ultrafastbert quantize`."""

from pathlib import Path
from typing import Annotated

import typer

from ultrafastbert.cli.options import kept_rows, model_folder
from ultrafastbert.cli.progress import showing
from ultrafastbert.cli.streams import echo


def quantize_command(
    model: Annotated[Path, typer.Argument(help="Folder of a model with fast layers.")],
    out: Annotated[Path, typer.Argument(help="New folder.")],
    weight_dtype: Annotated[
        str, typer.Option(help="Of the fast layers' weights: int8 or bfloat16.")
    ] = "int8",
    glue_dir: Annotated[
        Path | None, typer.Option(help="Score on the STS-B of local GLUE files, before and after.")
    ] = None,
) -> None:
    """Store a model in less than half the space, for inference, and say what that changes.

    Fast feedforward layers keep their small weights in memory; all else is
    stored in bfloat16 and computed with in float32.
    """
    from ultrafastbert.inference.quantize import quantize_model
    from ultrafastbert.report import write_model_card
    from ultrafastbert.report.converted_results import quantize_table

    with showing(kept_rows(out / "rows.jsonl")) as show:
        row = quantize_model(model_folder(model), out, weight_dtype, glue_dir, show)
        write_model_card(out)
    echo(quantize_table([row]))
