"""Options that several commands take, and what their values mean."""

import os
from pathlib import Path
from typing import Annotated

import typer

FFN = "FF layer: KxD or KxDxL (K trees of depth D, leaves of L), ff:WIDTH, glu:WIDTH or none."
POOLING = "How tokens become one vector: mean, cls, ...; default: as the model says, or mean."
NORMALIZE = "Whether vectors get length 1; default: as the model says, or not."
ROWS = "File that the result rows are appended to."
Resume = Annotated[bool, typer.Option("--resume", help="Go on with a run that was cut off.")]


def option_name(parameter: str) -> str:
    """Return how a parameter of a command is written on the command line."""
    return f"--{parameter.replace('_', '-')}"


def numbers(text: str, name: str) -> tuple[int, ...]:
    """Return the numbers of 1,16,128; ValueError that names the option otherwise."""
    try:
        return tuple(int(part) for part in text.split(","))
    except ValueError:
        raise ValueError(f"--{name} {text!r} must be numbers separated by commas") from None


def number_range(text: str, name: str) -> tuple[int, ...]:
    """Return the numbers of 3..19, or the one of 3; ValueError that names the option otherwise."""
    first, dots, last = text.partition("..")
    if not (first.isdigit() and (last if dots else first).isdigit()):
        raise ValueError(f"--{name} {text!r} must be written as in 3..19")
    return tuple(range(int(first), int(last or first) + 1))


def pairs(text: str, name: str) -> tuple[tuple[int, int], ...]:
    """Return the pairs of 1x128,32x128; ValueError that names the option otherwise."""
    try:
        split = [part.split("x") for part in text.split(",") if part]
        return tuple((int(batch), int(tokens)) for batch, tokens in split)
    except ValueError:
        raise ValueError(f"--{name} {text!r} must be written as in 1x128,32x128") from None


def kept_rows(path: Path | None) -> str | None:
    """Return what a command says at its start of where its result rows go, if it keeps any."""
    return None if path is None else f"rows: {path}"


def typed_text(text: str) -> str:
    """Return a text of the command line as it was typed, in UTF-8.

    Where the locale has another encoding, such as LC_ALL=C, Python cannot decode it all.
    """
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return os.fsencode(text).decode("utf-8", "surrogateescape")
    return text


def model_folder(path: Path) -> Path:
    """Return the path of a model's folder; FileNotFoundError if it is none."""
    if not (path / "config.json").exists():
        raise FileNotFoundError(f"{path} is not the folder of a model: it has no config.json")
    return path
