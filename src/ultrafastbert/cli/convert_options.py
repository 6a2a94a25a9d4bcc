"""Options of `ultrafastbert convert` and `ultrafastbert sweep`, and what their values mean."""

from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Annotated, Any

import typer

from ultrafastbert.cli.options import FF_LOCATION_EXAMPLE, numbers

DenseModel = Annotated[Path, typer.Argument(help="Folder of a dense encoder.")]
NewFolder = Annotated[Path, typer.Argument(help="New folder for the converted model.")]
Ffn = Annotated[
    str,
    typer.Option(
        help="Fast feedforward layer, KxD or KxDxL; KxDxL+WIDTH with a dense block beside it."
    ),
]
Candidates = Annotated[
    str,
    typer.Option(help="Layers to choose among, comma-separated: KxD, KxDxL, ff:WIDTH or none."),
]
Layers = Annotated[
    str | None,
    typer.Option("--layers", help="Layers to convert, comma-separated from 0; default: all."),
]
FfLocation = Annotated[
    str | None,
    typer.Option(
        help="Where FF layers sit, for unknown architectures: modules as print(model) shows them, "
        f"* for the layer, such as {FF_LOCATION_EXAMPLE}."
    ),
]
Tokens = Annotated[int, typer.Option(help="Tokens of the text to train layers on.")]
MaxLength = Annotated[int, typer.Option(help="Tokens to read of a text or a pair.")]
Steps = Annotated[int, typer.Option(help="Training steps of each layer.")]
SequentialSteps = Annotated[
    int,
    typer.Option(
        help="Steps of sequential distillation: each layer learns again, after those before it are "
        "replaced. Each model reads the text once per layer."
    ),
]
EndToEndSteps = Annotated[int, typer.Option(help="Training steps of the whole model afterwards.")]
EndToEndTokens = Annotated[
    int, typer.Option(help="Tokens of the text to train the whole model on.")
]
Controls = Annotated[
    bool,
    typer.Option(
        help="Also train the control models: dense (as wide as the path, of equal latency), random "
        "routing, no FF layers."
    ),
]
Ablations = Annotated[bool, typer.Option(help="Also train single layers with one choice undone.")]
DenseWidths = Annotated[
    str | None,
    typer.Option(help="Also train single dense layers of these widths, comma-separated."),
]
GlueDir = Annotated[Path | None, typer.Option(help="Score on the STS-B of local GLUE files.")]
Task = Annotated[
    list[str] | None, typer.Option(help="GLUE task to fine-tune on as well. Repeatable.")
]
Seeds = Annotated[
    str, typer.Option(help="Comma-separated seeds: everything is trained once for each.")
]
Start = Annotated[
    str | None,
    typer.Option(
        help="Folder of a converted model to go on from, end to end, with --no-controls; "
        "+WIDTH may be new."
    ),
]
EndToEndBatchTokens = Annotated[
    int | None, typer.Option(help="Tokens of a step of the whole model's training.")
]
WholeLines = Annotated[
    bool,
    typer.Option("--whole-lines", help="Each line is a text as it is, not cut into sentences."),
]
Seed = Annotated[int, typer.Option(help="Seed of everything drawn.")]
TargetSpeedup = Annotated[
    float | None, typer.Option(help="The most accurate model with this speed-up.")
]
TargetExplained = Annotated[
    float | None,
    typer.Option(
        help="The fastest model that explains this fraction of the last hidden states' variance "
        "(1 - FVU)."
    ),
]


def _refuse(message: str) -> Any:
    def refuse(value: str | None) -> None:
        if value is not None:
            raise ValueError(message)

    return refuse


# Names that these options had; hidden, as they end in an error that names the new one.
OldBlock = Annotated[
    str | None,
    typer.Option("--block", hidden=True, callback=_refuse("--block is called --ff-location now")),
]
OldInSequenceSteps = Annotated[
    str | None,
    typer.Option(
        "--in-sequence-steps",
        hidden=True,
        callback=_refuse("--in-sequence-steps is called --sequential-steps now"),
    ),
]
OldSweep = Annotated[
    str | None,
    typer.Option(
        "--sweep",
        "--target-speedup",
        "--target-explained",
        hidden=True,
        callback=_refuse(
            "a sweep is a command of its own: "
            "ultrafastbert sweep MODEL OUT --candidates 1x4x8,1x6x16 --text FILE"
        ),
    ),
]


def settings(config_class: type, options: Mapping[str, Any]) -> dict[str, Any]:
    """Return the options that are fields of a configuration, as it takes them."""
    names = {field.name for field in fields(config_class)}
    return {name: _value(name, options[name]) for name in options if name in names}


def _value(name: str, value: Any) -> Any:
    """Return the value of an option: numbers and names that are separated by commas are tuples."""
    if name == "whole_lines":
        return value or None
    if name in ("layer_ids", "seeds") and value is not None:
        return numbers(value, "layers" if name == "layer_ids" else name)
    if name == "dense_widths":
        return () if value is None else numbers(value, "dense-widths")
    if name == "candidates":
        return tuple(candidate.strip() for candidate in value.split(","))
    return value
