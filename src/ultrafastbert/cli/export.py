"""`ultrafastbert export`: one command for each format."""

from pathlib import Path
from typing import Annotated

import typer

from ultrafastbert.cli.options import ModelFolder, NewFolder, Normalize, Pooling, model_folder
from ultrafastbert.cli.progress import showing
from ultrafastbert.cli.streams import echo

export_app = typer.Typer(
    name="export",
    help="Save a model in another library's format.",
    epilog="Example: ultrafastbert export onnx MODEL OUT",
    no_args_is_help=True,
)


@export_app.command("crammed")
def export_crammed_command(model: ModelFolder, out: NewFolder) -> None:
    """Save a model in the format of the published UltraFastBERT and crammedBERT.

    For encoders, masked language models and classifiers whose layers that
    software has: KxD, ff or glu, scaled sinusoidal positions.
    """
    folder = model_folder(model)
    with showing(f"model: {out}") as show:
        show(f"exporting {model}")
        from ultrafastbert.models.io.crammed_export import export_crammed

        export_crammed(folder, out)
    echo(out)


@export_app.command("sentence-transformers")
def export_sentence_transformers(
    model: Annotated[Path, typer.Argument(help="Folder of an encoder, with or without a head.")],
    out: NewFolder,
    pooling: Pooling = None,
    normalize: Normalize = None,
) -> None:
    """Save an encoder as a folder of sentence-transformers, with its pooling.

    SentenceTransformer(OUT) loads it in a program that imports ultrafastbert.
    """
    folder = model_folder(model)
    with showing(f"model: {out}") as show:
        show(f"exporting {model}")
        from ultrafastbert.inference.encode import save_sentence_transformer

        written = save_sentence_transformer(folder, out, pooling, normalize)
    echo(written)


@export_app.command("onnx")
def export_onnx_command(
    model: ModelFolder,
    out: NewFolder,
    operator: Annotated[
        str | None,
        typer.Option(
            help="native for ONNX Runtime, with our operator and fused ones, or standard for any "
            "engine, slower; by default native where ultrafastbert-runtime is installed.",
            show_default=False,
        ),
    ] = None,
    precision: Annotated[
        str,
        typer.Option(
            help="fp32, or int8: int8 weights; inputs of dense products quantized as they come."
        ),
    ] = "fp32",
) -> None:
    """Save a model for ONNX Runtime, OpenVINO and other engines, as OUT/model.onnx.

    For dense, converted and UltraFastBERT models with any head. Outputs and
    paths are compared with the model's where ONNX Runtime is installed.
    """
    with showing(f"model: {out}") as show:
        show(f"exporting {model}, and comparing")
        from ultrafastbert.inference.engines import export_onnx

        export = export_onnx(model, out, operator, precision)
    echo(export.path)
    if export.error is None:
        echo("not compared with the model: pip install onnxruntime to have it done")
    else:
        echo(f"ONNX Runtime computes what the model does, within {export.error:.0e}")
    if export.int8 is not None:
        echo(
            f"With int8 products: relative error {export.int8.error:.2g}, mean cosine of output "
            f"vectors {export.int8.cosine:.4f}"
        )


@export_app.command("torch")
def export_torch_command(
    model: ModelFolder,
    out: NewFolder,
    compiled: Annotated[
        bool,
        typer.Option(
            "--compiled",
            help="Compile with AOTInductor: faster, for this kind of processor only.",
        ),
    ] = False,
) -> None:
    """Save a model as a torch.export program, OUT/model.pt2.

    A program that loads it must import ultrafastbert first.
    """
    with showing(f"model: {out}") as show:
        show(f"exporting {model}, and comparing")
        from ultrafastbert.inference.engines import export_torch

        path, error = export_torch(model, out, compiled)
    echo(path)
    echo(f"It computes what the model does, within {error:.0e}")
