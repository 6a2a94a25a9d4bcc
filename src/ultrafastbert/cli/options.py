"""Options that several commands take, and what their values mean."""

import os
from pathlib import Path
from typing import Annotated

import typer

# Written out, as the modules that define them import torch: a test compares them.
RECIPES = "crammed, small, tiny"
FF_LOCATION_EXAMPLE = "encoder.layer.*.intermediate,output.dense"

FFN = (
    "FF layer: KxD or KxDxL (K trees of depth D with leaves of L neurons), ff:WIDTH, glu:WIDTH or "
    "none. The last three are the dense controls."
)
POOLING = (
    "How the vectors of tokens become one: mean, cls, ...; default: what the model's folder says, "
    "or mean."
)
NORMALIZE = "Scale vectors to length 1; default: what the model's folder says, or not."
ROWS = "File that result rows are appended to, for `report write`."

ModelFolder = Annotated[Path, typer.Argument(help="Folder of a model.")]
NewFolder = Annotated[Path, typer.Argument(help="New folder.")]
Text = Annotated[list[str], typer.Option(help="Plain text: file, folder or hf:NAME. Repeatable.")]
Pooling = Annotated[str | None, typer.Option(help=POOLING)]
Normalize = Annotated[bool | None, typer.Option(help=NORMALIZE)]
Rows = Annotated[Path | None, typer.Option(help=ROWS)]
StsbFolder = Annotated[
    Path | None,
    typer.Option(help="Folder of GLUE files (stsb/): score on STS-B, before and after."),
]
Seed = Annotated[
    int, typer.Option(help="Seed of weights, order and masks; same seed, same result.")
]
ModelName = Annotated[
    str | None, typer.Option(help="Name of the model in tables; default: its FF layer.")
]
CaseSeconds = Annotated[
    float, typer.Option(help="Time for each case; more gives narrower spreads.")
]
Resume = Annotated[
    bool,
    typer.Option("--resume", help="Continue an interrupted run, with the same options."),
]


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
