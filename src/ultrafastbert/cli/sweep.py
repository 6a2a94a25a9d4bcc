"""`ultrafastbert sweep`."""

import typer

from ultrafastbert.cli import convert_options as options
from ultrafastbert.cli.options import Resume, Text, kept_rows, model_folder
from ultrafastbert.cli.progress import showing
from ultrafastbert.cli.streams import echo


def sweep_command(
    context: typer.Context,
    model: options.DenseModel,
    out: options.NewFolder,
    text: Text,
    candidates: options.Candidates = "1x4x8,1x6x16,1x6x40",
    target_speedup: options.TargetSpeedup = None,
    target_explained: options.TargetExplained = None,
    ff_location: options.FfLocation = None,
    tokens: options.Tokens = 500_000,
    max_length: options.MaxLength = 128,
    steps: options.Steps = 500,
    end_to_end_steps: options.EndToEndSteps = 0,
    end_to_end_tokens: options.EndToEndTokens = 3_000_000,
    glue_dir: options.GlueDir = None,
    seed: options.Seed = 0,
    resume: Resume = False,
) -> None:
    """Choose a layer for every place of an encoder: quality against speed, measured.

    Every candidate learns every layer for a short time. The best choices, layer
    by layer, are measured beside the same candidate everywhere; the best one of
    the target becomes the model (by default: half of the time that can be saved),
    and is trained as a whole with --end-to-end-steps. --resume with another
    target chooses again, without training layers. While it works, it needs about
    4 H bytes of disk per token and layer.
    """
    folder = model_folder(model)
    with showing(kept_rows(out / "rows.jsonl")) as show:
        show("loading the library")
        from ultrafastbert.distill import SweepConfig, Target, sweep
        from ultrafastbert.report import write_model_card
        from ultrafastbert.report.convert_tables import convert_layer_table
        from ultrafastbert.report.figures import draw_all
        from ultrafastbert.report.sweep_tables import gains, sweep_table, trained

        config = SweepConfig(**options.settings(SweepConfig, context.params))
        target = Target(target_speedup, target_explained)
        rows = sweep(
            folder,
            out,
            text,
            config,
            target,
            glue_dir,
            resume,
            show,
            end_to_end_steps,
            end_to_end_tokens,
        )
        show("drawing figures")
        figure = draw_all(rows, out / "figures")["sweep"]
        write_model_card(out)
    echo(f"{convert_layer_table(rows)}\n\n{sweep_table(rows)}\n")
    echo("".join(f"{text}\n" for text in [*gains(rows), *trained(rows)]))
    echo(f"The figure: {figure}. The model: {out}; load it after `import ultrafastbert`.")
