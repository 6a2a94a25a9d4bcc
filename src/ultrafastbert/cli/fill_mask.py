"""`ultrafastbert fill-mask`."""

from pathlib import Path
from typing import Annotated

import typer

from ultrafastbert.cli.options import model_folder


def fill_mask_command(
    model: Annotated[Path, typer.Argument(help="Folder of a masked language model.")],
    text: Annotated[str, typer.Argument(help="Text with one or more [MASK].")],
    top: Annotated[int, typer.Option(help="Words to show for each mask.")] = 5,
) -> None:
    """Guess the masked words of a text."""
    from ultrafastbert.fill_mask import fill_mask

    for number, guesses in enumerate(fill_mask(model_folder(model), text, top), start=1):
        typer.echo(f"[MASK] {number}")
        for word, probability in guesses:
            typer.echo(f"  {probability:6.1%}  {word}")
