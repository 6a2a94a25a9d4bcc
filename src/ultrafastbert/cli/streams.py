"""Standard output and error that lose no results: in any encoding, closed, full or cut off."""

import os
import sys
from contextlib import suppress
from typing import TextIO

# Codecs that end a command at the first character they lack, or at all but undecodable bytes.
STRICT = ("strict", "surrogateescape")


def prepare_streams() -> None:
    """Make the streams write characters that their encoding lacks as `\\u2603`.

    A stream that whoever started the process has closed becomes one that nobody reads: the next
    file to be opened would take its place otherwise, and get what libraries print.
    """
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # noqa: SIM115
        elif getattr(stream, "errors", None) in STRICT:
            stream.reconfigure(errors="backslashreplace")


def echo(text: object = "") -> None:
    """Print a line to standard output, at once.

    Raises BrokenPipeError where nobody reads it any more, OSError where it cannot be written.
    """
    try:
        print(text, flush=True)
    except BrokenPipeError:
        raise
    except OSError as error:
        message = f"{error.strerror}: standard output cannot be written"
        raise OSError(error.errno, message) from error


def say(text: str) -> None:
    """Print a line to standard error; where that cannot be written, the work goes on."""
    with suppress(OSError):
        print(text, file=sys.stderr, flush=True)


def discard_unwritable() -> None:
    """Discard what streams hold that cannot be written.

    Python would try once more when it ends, and print a traceback.
    """
    _discard_unwritable(sys.stdout)
    _discard_unwritable(sys.stderr)


def _discard_unwritable(stream: TextIO) -> None:
    try:
        stream.flush()
    except OSError:
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, stream.fileno())
        os.close(nowhere)
