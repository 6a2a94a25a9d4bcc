"""`ultrafastbert text-mix`."""

from pathlib import Path
from typing import Annotated

import typer

from ultrafastbert.cli.progress import showing
from ultrafastbert.cli.streams import echo


def text_mix_command(
    out: Annotated[Path, typer.Argument(help="New file, a text a line.")],
    text: Annotated[
        list[str] | None, typer.Option(help="Prose: file, folder or hf:NAME. Repeatable.")
    ] = None,
    glue_dir: Annotated[
        Path | None,
        typer.Option(help="Folder of GLUE files: sentences of train, none of validation or test."),
    ] = None,
    held_out: Annotated[
        list[str] | None,
        typer.Option(help="Text that `retrieval --text` will read: kept out. Repeatable."),
    ] = None,
) -> None:
    """Write the text that an encoder of sentences and passages is distilled on.

    Sentences, parts and whole paragraphs of prose, sentences of labelled data,
    and documentation of installed packages. What `retrieval` and STS-B score
    is left out. For `convert --whole-lines --max-length 256`.
    """
    with showing(answers=True) as show:
        show("loading the library")
        from ultrafastbert.distill.text_mix import write_text_mix
        from ultrafastbert.evaluate.retrieval.task import Sources

        counts = write_text_mix(out, Sources(glue_dir, held_out), text, show)
    echo("\n".join(f"{name}: {count:,} texts" for name, count in counts.items()))
