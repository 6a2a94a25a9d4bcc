"""`ultrafastbert bench`: one command for each thing that is timed."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ultrafastbert.cli.options import (
    FFN,
    CaseSeconds,
    Rows,
    kept_rows,
    model_folder,
    number_range,
    numbers,
    pairs,
)
from ultrafastbert.cli.progress import showing, showing_cases
from ultrafastbert.cli.streams import echo

if TYPE_CHECKING:
    from ultrafastbert.models import UltraFastBertConfig

bench_app = typer.Typer(
    name="bench",
    help="Time layers and models beside the fastest dense ones of this machine.",
    epilog="Example: ultrafastbert bench layer --ffn 1x11 --threads 1",
    no_args_is_help=True,
)

# Written out, as the modules that define them import torch: a test compares them.
SHAPES = "minilm-l6,minilm-l12,distilbert,bert-base,mpnet-base,crammed"
LOADS = "sentence,1x16,1x128,32x32,32x128,texts"

HiddenSize = Annotated[int, typer.Option(help="H, size of a token.")]
Tokens = Annotated[str, typer.Option(help="Tokens per call, comma-separated: a case each.")]


@bench_app.command("layer")
def bench_layer_command(
    ffn: Annotated[str, typer.Option(help="Fast feedforward layer, KxD or KxDxL.")] = "1x11",
    hidden_size: HiddenSize = 768,
    tokens: Tokens = "1,16,128,1024,16384",
    passes: Annotated[
        str, typer.Option(help="Of forward (inference) and forward+backward (training).")
    ] = "forward,forward+backward",
    cache: Annotated[
        str,
        typer.Option(
            help="What the caches hold before a call: hot (the same input every time), fresh "
            "(inputs rotate, so nearly all leaves are visited) or cold (emptied)."
        ),
    ] = "fresh",
    threads: Annotated[
        str | None, typer.Option(help="Comma-separated; default: 1 and all. BLAS levels use 1.")
    ] = None,
    seconds: CaseSeconds = 3.0,
    rows: Rows = None,
) -> None:
    """Time a layer against dense layers and against the machine's roofline.

    Candidates: every kernel and precision of the fast feedforward layer,
    plain PyTorch (gather, masked), and the layer on BLAS level 1, 2 and 3.
    Controls: dense layers in PyTorch, oneDNN, BLAS, bfloat16 and int8, as wide
    as all neurons and as the active ones. Each is proven equal to the
    definition before it is timed.

    The roofline comes from the machine's peak and bandwidths, measured first.
    Slow candidates run a few calls at least: the largest cases take minutes.
    """
    with showing_cases("timing the layer", kept_rows(rows)) as on_case:
        from ultrafastbert.bench import LayerBenchConfig, bench_layer
        from ultrafastbert.report.layer_tables import layer_table

        options: dict[str, Any] = {}
        if threads is not None:
            options["threads"] = numbers(threads, "threads")
        config = LayerBenchConfig(
            ffn,
            hidden_size,
            numbers(tokens, "tokens"),
            passes=tuple(passes.split(",")),
            cache=tuple(cache.split(",")),
            seconds=seconds,
            **options,
        )
        measured = bench_layer(config, on_case, rows)
    echo(layer_table(measured))


@bench_app.command("width")
def bench_width_command(
    depths: Annotated[
        str, typer.Option(help="FROM..TO: depths of trees of 2^(depth+1) - 1 neurons.")
    ] = "3..19",
    hidden_size: Annotated[
        int, typer.Option(help="H, size of a token. Depth 19 at 768 needs 6.4 GB: less for less.")
    ] = 768,
    tokens: Tokens = "1,128",
    threads: Annotated[int, typer.Option(help="Threads.")] = 1,
    seconds: Annotated[
        float, typer.Option(help="Time for each case; dense layers that exceed it are left out.")
    ] = 3.0,
    rows: Rows = None,
) -> None:
    """Time a layer over its number of neurons, from 2^4 to 2^20, beside dense layers.

    A tree of depth D has 2^(D+1) - 1 neurons, of which a token uses D + 1.
    Depth 15 has as many as a layer of GPT-3, and uses 16.
    """
    with showing_cases("timing layers", kept_rows(rows)) as on_case:
        from ultrafastbert.bench import WidthBenchConfig, bench_width
        from ultrafastbert.report.layer_tables import width_table

        config = WidthBenchConfig(
            number_range(depths, "depths"), hidden_size, numbers(tokens, "tokens"), threads, seconds
        )
        measured = bench_width(config, on_case, rows)
    echo(width_table(measured))


@bench_app.command("model")
def bench_model_command(
    model: Annotated[Path | None, typer.Argument(help="Folder of a model, for its sizes.")] = None,
    recipe: Annotated[str, typer.Option(help="Without MODEL: sizes of this recipe.")] = "crammed",
    ffn: Annotated[str | None, typer.Option(help=f"Of the recipe. {FFN}")] = None,
    shapes: Annotated[
        str, typer.Option(help="BATCHxTOKENS of inference, comma-separated.")
    ] = "1x128,32x128",
    training_shapes: Annotated[
        str, typer.Option(help="BATCHxTOKENS of training steps; empty: do not time training.")
    ] = "32x128",
    seconds: CaseSeconds = 10.0,
    rows: Rows = None,
) -> None:
    """Time a whole model in PyTorch, inference and training, against its dense controls."""
    if model is not None and ffn is not None:
        raise ValueError(f"--ffn {ffn} does not go with a model; it has its own layer")
    folder = None if model is None else model_folder(model)
    with showing_cases("timing models", kept_rows(rows)) as on_case:
        from ultrafastbert.bench import ModelBenchConfig, bench_model
        from ultrafastbert.report.tables import model_table

        config = ModelBenchConfig(
            _sizes(folder, recipe, ffn),
            pairs(shapes, "shapes"),
            pairs(training_shapes, "training-shapes"),
            seconds=seconds,
        )
        measured = bench_model(config, on_case, rows)
    echo(model_table(measured))


def _sizes(folder: Path | None, recipe: str, ffn: str | None) -> "UltraFastBertConfig":
    """Return the configuration of a saved model, or else of a recipe."""
    from ultrafastbert.models import UltraFastBertConfig
    from ultrafastbert.train.pretrain import get_recipe

    if folder is not None:
        return UltraFastBertConfig.from_pretrained(folder)
    return get_recipe(recipe)(**({} if ffn is None else {"ffn": ffn})).model


@bench_app.command("converted")
def bench_converted_command(
    model: Annotated[Path, typer.Argument(help="Folder that convert wrote.")],
    original: Annotated[Path, typer.Argument(help="Folder of the dense model it came from.")],
) -> None:
    """Time a converted model and its controls against the original at its fastest, on one thread.

    Each runs with every dense backend that PyTorch has here, as eager float32
    is the original's slowest. Rows are added to MODEL/rows.jsonl, and the
    model card is renewed. Other engines: ultrafastbert bench engines.
    """
    folders = model_folder(model), model_folder(original)
    with showing(kept_rows(model / "rows.jsonl")) as show:
        show("loading the library")
        from ultrafastbert.bench import bench_converted
        from ultrafastbert.report import write_model_card
        from ultrafastbert.report.converted_speed import speed_table

        measured = bench_converted(*folders, show)
        write_model_card(model)
    echo(speed_table(measured))


@bench_app.command("engines")
def bench_engines_command(
    model: Annotated[
        Path | None, typer.Argument(help="Folder that convert wrote, instead of --models.")
    ] = None,
    original: Annotated[
        Path | None, typer.Argument(help="Folder of the dense model it came from.")
    ] = None,
    models: Annotated[
        str, typer.Option(help="Sizes to time with random weights, comma-separated.")
    ] = SHAPES,
    loads: Annotated[
        str,
        typer.Option(
            help="What a call encodes, comma-separated: BATCHxTOKENS, sentence (one real sentence) "
            "or texts (64 of mixed lengths)."
        ),
    ] = LOADS,
    threads: Annotated[
        int | None, typer.Option(help="For every engine; default: as many as PyTorch uses.")
    ] = None,
    seconds: Annotated[
        float, typer.Option(help="For each way to run a model, at each load.")
    ] = 3.0,
    rows: Rows = None,
) -> None:
    """Time encoders as they are deployed: PyTorch, ONNX Runtime, OpenVINO.

    Models with trees, the original, dense layers as wide as the active
    neurons, and no feedforward layers, in every engine and precision, each in
    a process of its own; all take turns. Throughput, median and 99th
    percentile, memory, and the time to import and load.

    Takes an hour and more for all sizes. An interrupted run continues: cases
    that are in the file of --rows are left out.
    """
    if (model is None) != (original is None):
        raise ValueError("give both MODEL and ORIGINAL, or neither")
    folders = (model_folder(model), model_folder(original)) if model and original else None
    with showing(kept_rows(rows)) as show:
        show("loading the library")
        from ultrafastbert.bench import EnginesBenchConfig, bench_engines
        from ultrafastbert.report.serving_tables import serving_tables

        options: dict[str, Any] = {} if threads is None else {"threads": threads}
        config = EnginesBenchConfig(
            tuple(models.split(",")), folders, tuple(loads.split(",")), seconds=seconds, **options
        )
        measured = bench_engines(config, show, rows)
    echo(serving_tables(measured))
