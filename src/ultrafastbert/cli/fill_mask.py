"""`ultrafastbert fill-mask`."""

from pathlib import Path
from typing import Annotated

import typer

from ultrafastbert.cli.options import model_folder, typed_text
from ultrafastbert.cli.progress import showing
from ultrafastbert.cli.streams import echo


def fill_mask_command(
    model: Annotated[Path, typer.Argument(help="Folder of a masked language model.")],
    text: Annotated[str, typer.Argument(help="Text with one or more [MASK].")],
    top: Annotated[int, typer.Option(help="Words to show for each mask.")] = 5,
) -> None:
    """Guess the masked words of a text: a quick look at what a model learned.

    A folder with model.onnx runs in ONNX Runtime, any other in PyTorch.
    """
    folder = model_folder(model)
    with showing(answers=True) as show:
        show("loading the model")
        from ultrafastbert.inference.fill_mask import fill_mask

        found = fill_mask(folder, typed_text(text), top)
    for number, guesses in enumerate(found, start=1):
        echo(f"[MASK] {number}")
        for word, probability in guesses:
            echo(f"  {probability:6.1%}  {word}")
