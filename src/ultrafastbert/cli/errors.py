"""How a command ends that cannot go on."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from safetensors import SafetensorError

from ultrafastbert.cli.streams import discard_unwritable, say
from ultrafastbert.imports.extras import name_extra

# Exit codes as shells give them: of a command ended by Ctrl-C, and of one that nobody reads from.
INTERRUPTED, BROKEN_PIPE = 130, 141


@contextmanager
def one_line_errors() -> Iterator[None]:
    """End the process on errors of input and machine, with one line and exit code 2.

    What reads the output may stop before its end, such as `head`: then the command ends quietly.
    """
    try:
        yield
    except SystemExit as ended:
        if ended.code == INTERRUPTED:  # typer ends so on Ctrl-C
            say(
                "interrupted; continue quickstart, pretrain and convert with --resume, glue with "
                "the same command; start any other again"
            )
        if isinstance(ended.__context__, BrokenPipeError):  # of which typer and rich make code 1
            sys.exit(BROKEN_PIPE)
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
        said = name_extra(error) if isinstance(error, ImportError) else error
        message = " ".join(str(said).split()) or type(error).__name__
        say(f"error: {message}")
        sys.exit(2)
    finally:
        discard_unwritable()
