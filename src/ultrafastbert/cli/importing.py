"""`ultrafastbert import`."""

from pathlib import Path
from typing import Annotated

import typer

from ultrafastbert.cli.progress import showing
from ultrafastbert.cli.streams import echo


def import_command(
    source: Annotated[
        str, typer.Argument(help="Folder or hub name of a published UltraFastBERT or crammedBERT.")
    ],
    out: Annotated[Path, typer.Argument(help="New folder.")],
    pickle: Annotated[
        bool,
        typer.Option("--pickle", help="Read pickled weights (.bin), of which only tensors load."),
    ] = False,
) -> None:
    """Turn a published checkpoint into a folder that every command here takes.

    UltraFastBERT by pbelcak and crammedBERT by JonasGeiping, with their
    tokenizers. Weights are checked one by one; none of the original software
    is needed. `export crammed` is the way back.
    """
    from ultrafastbert.models.io.crammed_import import import_checkpoint

    with showing(f"model: {out}") as show:
        show(f"importing {source}")
        model = import_checkpoint(source, out, use_safetensors=not pickle)
    config = model.config
    echo(
        f"{out}: {type(model).__name__}, {config.num_hidden_layers} layers of "
        f"{config.hidden_size} with {config.ffn_name}, {config.n_active:,} of "
        f"{config.n_neurons:,} neurons active"
    )
