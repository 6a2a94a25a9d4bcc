"""`ultrafastbert import`."""

from typing import Annotated

import typer

from ultrafastbert.cli.options import NewFolder
from ultrafastbert.cli.progress import showing
from ultrafastbert.cli.streams import echo


def import_command(
    source: Annotated[
        str, typer.Argument(help="Folder or hub name of a published UltraFastBERT or crammedBERT.")
    ],
    out: NewFolder,
    pickle: Annotated[
        bool,
        typer.Option(
            "--pickle",
            help="Read .bin weights: for checkpoints without safetensors. Only tensors are loaded.",
        ),
    ] = False,
) -> None:
    """Turn a published checkpoint into a folder that every command here takes.

    For UltraFastBERT by pbelcak and crammedBERT by JonasGeiping, with their
    tokenizers. Every weight is checked, and the original software is not
    needed. `export crammed` is the way back.
    """
    with showing(f"model: {out}") as show:
        show(f"importing {source}")
        from ultrafastbert.models.io.crammed_import import import_checkpoint

        model = import_checkpoint(source, out, use_safetensors=not pickle)
    config = model.config
    echo(
        f"{out}: {type(model).__name__}, {config.num_hidden_layers} layers of "
        f"{config.hidden_size} with {config.ffn_name}, {config.n_active:,} of "
        f"{config.n_neurons:,} neurons active"
    )
