"""`ultrafastbert convert`."""

from pathlib import Path
from typing import Annotated

import typer

from ultrafastbert.cli.convert_sweep import convert_sweep
from ultrafastbert.cli.options import FF_LOCATION_EXAMPLE, Resume, kept_rows, model_folder, numbers
from ultrafastbert.cli.progress import showing
from ultrafastbert.cli.streams import echo


def convert_command(
    context: typer.Context,
    model: Annotated[Path, typer.Argument(help="Folder of a dense encoder.")],
    out: Annotated[Path, typer.Argument(help="New folder for the converted model.")],
    text: Annotated[
        list[str], typer.Option(help="Plain text: file, folder or hf:NAME. Repeatable.")
    ],
    ffn: Annotated[str, typer.Option(help="Fast feedforward layer, KxD or KxDxL.")] = "1x6x40",
    layers: Annotated[
        str | None, typer.Option(help="Comma-separated numbers from 0; default: all.")
    ] = None,
    block: Annotated[
        str | None,
        typer.Option(
            help="Where the FF block sits, in a model of unknown kind: modules as print(model) "
            f"shows them, * for the layer, such as {FF_LOCATION_EXAMPLE}."
        ),
    ] = None,
    tokens: Annotated[int, typer.Option(help="Tokens to read of the text.")] = 500_000,
    max_length: Annotated[int, typer.Option(help="Tokens to read of a text or a pair.")] = 128,
    steps: Annotated[int, typer.Option(help="Updates of each layer.")] = 3000,
    in_sequence_steps: Annotated[
        int,
        typer.Option(
            help="Updates of each layer again, from what the model gives it once those before it "
            "are replaced; each model reads the text once for each layer."
        ),
    ] = 500,
    end_to_end_steps: Annotated[
        int, typer.Option(help="Updates of the whole model afterwards.")
    ] = 2000,
    end_to_end_tokens: Annotated[
        int, typer.Option(help="Tokens of the text that it learns from then.")
    ] = 3_000_000,
    controls: Annotated[
        bool,
        typer.Option(
            help="Make the same with dense (as wide as the path, of equal time as a single layer), "
            "random and no layers."
        ),
    ] = True,
    ablations: Annotated[
        bool, typer.Option(help="Train layers as well with one choice undone.")
    ] = False,
    dense_widths: Annotated[
        str | None,
        typer.Option(help="Dense layers to train as well, comma-separated: which equals the tree?"),
    ] = None,
    glue_dir: Annotated[
        Path | None, typer.Option(help="Score on the STS-B of local GLUE files.")
    ] = None,
    task: Annotated[
        list[str] | None, typer.Option(help="GLUE task to fine-tune on as well. Repeatable.")
    ] = None,
    seeds: Annotated[
        str, typer.Option(help="Comma-separated seeds: all is done once for each.")
    ] = "0",
    sweep: Annotated[
        str | None,
        typer.Option(help="Instead of --ffn: choose among these for each layer, comma-separated."),
    ] = None,
    target_speedup: Annotated[
        float | None, typer.Option(help="With --sweep: so many times faster than the original.")
    ] = None,
    target_explained: Annotated[
        float | None,
        typer.Option(
            help="With --sweep: the fastest with this share of the last hidden states' variance."
        ),
    ] = None,
    resume: Resume = False,
) -> None:
    """Replace the FF layers of a trained encoder (BERT, RoBERTa, ModernBERT ...) by fast ones.

    Each new layer learns from plain text what the old one made of its inputs: from
    short texts, and from pairs where paragraphs (lines) have several sentences. The
    result loads where the original did, and is reported beside controls. While it
    works, OUT holds two bfloat16 vectors for each token and layer, and two more.

    With --sweep, every layer named there learns for a short time (500 updates) at
    every place. The best choices, layer by layer, are measured beside the same
    layer everywhere; the best one of the target becomes the model (by default: half
    of the time that can be saved), and is trained as a whole if --end-to-end-steps
    is given. --resume with another target chooses again, quickly.
    """
    if any(option is not None for option in (sweep, target_speedup, target_explained)):
        return convert_sweep(context)
    from ultrafastbert.distill import ConvertConfig, convert
    from ultrafastbert.report import convert_tables, usage_tables, write_model_card
    from ultrafastbert.report.answer import conversion_caveats
    from ultrafastbert.report.usage_figures import draw_diagnosis

    config = ConvertConfig(
        ffn,
        None if layers is None else numbers(layers, "layers"),
        block,
        tokens,
        max_length=max_length,
        steps=steps,
        in_sequence_steps=in_sequence_steps,
        end_to_end_steps=end_to_end_steps,
        end_to_end_tokens=end_to_end_tokens,
        controls=controls,
        ablations=ablations,
        dense_widths=() if dense_widths is None else numbers(dense_widths, "dense-widths"),
        tasks=tuple(task or ()),
        seeds=numbers(seeds, "seeds"),
    )
    with showing(kept_rows(out / "rows.jsonl")) as show:
        rows = convert(model_folder(model), out, text, config, glue_dir, resume, show)
        show("drawing figures")
        draw_diagnosis(rows, out / "figures")
        write_model_card(out)
    echo(convert_tables.convert_layer_table(rows))
    for table in (
        convert_tables.convert_table,
        convert_tables.convert_task_table,
        usage_tables.usage_table,
    ):
        if scores := table(rows):
            echo(f"\n{scores}")
    for caveat in conversion_caveats(rows):
        echo(f"\n{caveat}")
    echo(f"\nThe model: {out}; load it after `import ultrafastbert`.")
