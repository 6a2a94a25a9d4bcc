"""How a command ends that cannot go on."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import typer
from safetensors import SafetensorError

INTERRUPTED = 130  # exit code of a command ended by Ctrl-C


@contextmanager
def one_line_errors() -> Iterator[None]:
    """End the process on errors of input and machine, with one line and exit code 2."""
    try:
        yield
    except SystemExit as ended:
        if ended.code == INTERRUPTED:  # typer ends so on Ctrl-C
            typer.echo(
                "interrupted; quickstart, pretrain and convert go on with --resume, glue with the "
                "same command",
                err=True,
            )
        raise
    except (
        ValueError,
        OSError,
        MemoryError,
        RuntimeError,
        ImportError,
        FloatingPointError,
        SafetensorError,
    ) as error:
        if os.environ.get("ULTRAFASTBERT_TRACEBACK"):
            raise
        message = " ".join(str(error).split()) or type(error).__name__
        typer.echo(f"error: {message}", err=True)
        sys.exit(2)
