"""`ultrafastbert export`: one command for each format."""

from pathlib import Path
from typing import Annotated

import typer

from ultrafastbert.cli.options import NORMALIZE, POOLING, model_folder
from ultrafastbert.cli.progress import showing
from ultrafastbert.cli.streams import echo

export_app = typer.Typer(
    name="export", help="Save a model in another library's format.", no_args_is_help=True
)


@export_app.command("crammed")
def export_crammed_command(
    model: Annotated[Path, typer.Argument(help="Folder of a model.")],
    out: Annotated[Path, typer.Argument(help="New folder.")],
) -> None:
    """Save a model in the format of the published UltraFastBERT and crammedBERT.

    For encoders, masked language models and classifiers whose layers that
    software has: KxD, ff or glu, scaled sinusoidal positions.
    """
    from ultrafastbert.models.io.crammed_export import export_crammed

    with showing(f"model: {out}") as show:
        show(f"exporting {model}")
        export_crammed(model_folder(model), out)
    echo(out)


@export_app.command("sentence-transformers")
def export_sentence_transformers(
    model: Annotated[Path, typer.Argument(help="Folder of an encoder, with or without a head.")],
    out: Annotated[Path, typer.Argument(help="New folder.")],
    pooling: Annotated[str | None, typer.Option(help=POOLING)] = None,
    normalize: Annotated[bool | None, typer.Option(help=NORMALIZE)] = None,
) -> None:
    """Save an encoder as a folder of sentence-transformers.

    SentenceTransformer(OUT) loads it in a program that imports ultrafastbert.
    """
    from ultrafastbert.inference.encode import save_sentence_transformer

    with showing(f"model: {out}") as show:
        show(f"exporting {model}")
        written = save_sentence_transformer(model_folder(model), out, pooling, normalize)
    echo(written)


@export_app.command("onnx")
def export_onnx_command(
    model: Annotated[Path, typer.Argument(help="Folder of a model.")],
    out: Annotated[Path, typer.Argument(help="New folder.")],
) -> None:
    """Save a model for ONNX Runtime, OpenVINO and other engines, as OUT/model.onnx."""
    from ultrafastbert.inference.engines import export_onnx

    with showing(f"model: {out}") as show:
        show(f"exporting {model}, and comparing")
        path, error = export_onnx(model, out)
    echo(path)
    if error is None:
        echo("not compared with the model: pip install onnxruntime to have it done")
    else:
        echo(f"ONNX Runtime computes what the model does, within {error:.0e}")


@export_app.command("torch")
def export_torch_command(
    model: Annotated[Path, typer.Argument(help="Folder of a model.")],
    out: Annotated[Path, typer.Argument(help="New folder.")],
    compiled: Annotated[
        bool, typer.Option("--compiled", help="By AOTInductor, for this kind of processor.")
    ] = False,
) -> None:
    """Save a model as a program of torch.export, OUT/model.pt2; import ultrafastbert to load it."""
    from ultrafastbert.inference.engines import export_torch

    with showing(f"model: {out}") as show:
        show(f"exporting {model}, and comparing")
        path, error = export_torch(model, out, compiled)
    echo(path)
    echo(f"It computes what the model does, within {error:.0e}")
