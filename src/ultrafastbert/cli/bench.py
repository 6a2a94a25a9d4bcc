"""`ultrafastbert bench`: one command for each thing that is timed."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer

from ultrafastbert.cli.options import ROWS, kept_rows, model_folder, number_range, numbers, pairs
from ultrafastbert.cli.progress import showing
from ultrafastbert.cli.streams import echo
from ultrafastbert.models import UltraFastBertConfig
from ultrafastbert.train.pretrain import get_recipe

bench_app = typer.Typer(
    name="bench", help="Time layers and models beside their dense twins.", no_args_is_help=True
)


@bench_app.command("layer")
def bench_layer_command(
    ffn: Annotated[str, typer.Option(help="Family, KxD or KxDxL.")] = "1x11",
    hidden_size: Annotated[int, typer.Option(help="Size of a token.")] = 768,
    tokens: Annotated[str, typer.Option(help="Tokens of a call.")] = "1,16,128,1024,16384",
    passes: Annotated[
        str, typer.Option(help="Of forward and forward+backward.")
    ] = "forward,forward+backward",
    cache: Annotated[
        str,
        typer.Option(
            help="What the caches hold before a call, of hot (the same input every time), fresh "
            "(inputs rotate, so that nearly all leaves are visited) and cold (emptied)."
        ),
    ] = "fresh",
    threads: Annotated[
        str | None, typer.Option(help="Default: 1 and all. The BLAS levels are timed with 1.")
    ] = None,
    seconds: Annotated[float, typer.Option(help="Time for each case.")] = 3.0,
    rows: Annotated[Path | None, typer.Option(help=ROWS)] = None,
) -> None:
    """Time a layer against the fastest dense layers, and against the machine's roofline.

    Timed are every kernel and precision of the fast feedforward layer,
    plain PyTorch (gather, masked), and the layer on BLAS level 1, 2 and 3;
    dense layers in PyTorch, oneDNN, BLAS, bfloat16 and int8, as wide as all
    neurons and as the active ones. Each is proven equal to the definition
    before it is timed.

    The machine's peak and bandwidths are measured, too: the roofline of a
    case is the least time that they allow. Slow implementations take a few
    calls at least, so the largest cases take minutes.
    """
    from ultrafastbert.bench import LayerBenchConfig, bench_layer
    from ultrafastbert.report.layer_tables import layer_table

    options: dict[str, Any] = {} if threads is None else {"threads": numbers(threads, "threads")}
    config = LayerBenchConfig(
        ffn,
        hidden_size,
        numbers(tokens, "tokens"),
        passes=tuple(passes.split(",")),
        cache=tuple(cache.split(",")),
        seconds=seconds,
        **options,
    )
    with _timing("measuring the machine", rows) as on_case:
        measured = bench_layer(config, on_case, rows)
    echo(layer_table(measured))


@bench_app.command("width")
def bench_width_command(
    depths: Annotated[
        str, typer.Option(help="FROM..TO: depths of trees of 2^(depth+1) - 1 neurons.")
    ] = "3..19",
    hidden_size: Annotated[
        int, typer.Option(help="Size of a token. Depth 19 at 768 needs 6.4 GB: less for less.")
    ] = 768,
    tokens: Annotated[str, typer.Option(help="Tokens of a call.")] = "1,128",
    threads: Annotated[int, typer.Option(help="Threads.")] = 1,
    seconds: Annotated[
        float, typer.Option(help="Time for each case; wider dense layers are left out.")
    ] = 3.0,
    rows: Annotated[Path | None, typer.Option(help=ROWS)] = None,
) -> None:
    """Time a layer over its number of neurons, from 2^4 to 2^20, beside dense layers.

    A tree of depth D has 2^(D+1) - 1 neurons, of which a token uses D + 1:
    at depth 15, 16 of as many as a layer of GPT-3 has.
    """
    from ultrafastbert.bench import WidthBenchConfig, bench_width
    from ultrafastbert.report.layer_tables import width_table

    config = WidthBenchConfig(
        number_range(depths, "depths"), hidden_size, numbers(tokens, "tokens"), threads, seconds
    )
    with _timing("measuring the machine", rows) as on_case:
        measured = bench_width(config, on_case, rows)
    echo(width_table(measured))


@bench_app.command("model")
def bench_model_command(
    model: Annotated[Path | None, typer.Argument(help="Folder of a model, for its sizes.")] = None,
    recipe: Annotated[str, typer.Option(help="Sizes of a recipe.")] = "crammed",
    ffn: Annotated[str | None, typer.Option(help="Fast feedforward layer of the recipe.")] = None,
    shapes: Annotated[
        str, typer.Option(help="BATCHxTOKENS of inference, comma-separated.")
    ] = "1x128,32x128",
    training_shapes: Annotated[
        str, typer.Option(help="BATCHxTOKENS of training steps; empty for none.")
    ] = "32x128",
    seconds: Annotated[float, typer.Option(help="Time for each case.")] = 10.0,
    engines: Annotated[
        bool, typer.Option("--engines", help="ONNX Runtime and OpenVINO beside PyTorch.")
    ] = False,
    rows: Annotated[Path | None, typer.Option(help=ROWS)] = None,
) -> None:
    """Time a whole model, inference and training, against its dense twins."""
    from ultrafastbert.bench import ModelBenchConfig, bench_model
    from ultrafastbert.report.engine_table import engine_table
    from ultrafastbert.report.tables import model_table

    if model is not None:
        if ffn is not None:
            raise ValueError(f"--ffn {ffn} does not go with a model; it has its own layer")
        sizes = UltraFastBertConfig.from_pretrained(model_folder(model))
    else:
        sizes = get_recipe(recipe)(**({} if ffn is None else {"ffn": ffn})).model
    config = ModelBenchConfig(
        sizes,
        pairs(shapes, "shapes"),
        pairs(training_shapes, "training-shapes"),
        seconds=seconds,
        engines=engines,
    )
    with _timing("building models", rows) as on_case:
        measured = bench_model(config, on_case, rows)
    echo(model_table(measured))
    echo(engine_table(measured))


@bench_app.command("converted")
def bench_converted_command(
    model: Annotated[Path, typer.Argument(help="Folder that convert wrote.")],
    original: Annotated[Path, typer.Argument(help="Folder of the dense model it came from.")],
    engines: Annotated[
        bool, typer.Option("--engines", help="Also in ONNX Runtime and OpenVINO; takes minutes.")
    ] = False,
) -> None:
    """Time a converted model and its controls against the original at its fastest, on one thread.

    Each is timed with every dense backend of PyTorch that is available here, in turn. Rows are
    added to MODEL/rows.jsonl, and the model card is renewed.
    """
    from ultrafastbert.bench import bench_converted
    from ultrafastbert.report import write_model_card
    from ultrafastbert.report.converted_speed import speed_table

    with showing(kept_rows(model / "rows.jsonl")) as show:
        measured = bench_converted(model_folder(model), model_folder(original), engines, show)
        write_model_card(model)
    echo(speed_table(measured))


@contextmanager
def _timing(before: str, rows: Path | None) -> Iterator[Callable[[int, int, str], None]]:
    """Give what shows the case that is proven and timed; `before` is what comes first."""
    with showing(kept_rows(rows)) as show:
        show(before)
        yield lambda done, total, label: show(label, done, total)
