"""`ultrafastbert convert`."""

from pathlib import Path
from typing import TYPE_CHECKING

import typer

from ultrafastbert.cli import convert_options as options
from ultrafastbert.cli.options import Resume, Text, kept_rows, model_folder
from ultrafastbert.cli.progress import showing
from ultrafastbert.cli.streams import echo

if TYPE_CHECKING:
    from ultrafastbert.rows import Row


def convert_command(
    context: typer.Context,
    model: options.DenseModel,
    out: options.NewFolder,
    text: Text,
    ffn: options.Ffn = "1x6x40",
    layer_ids: options.Layers = None,
    ff_location: options.FfLocation = None,
    tokens: options.Tokens = 500_000,
    max_length: options.MaxLength = 128,
    steps: options.Steps = 3000,
    sequential_steps: options.SequentialSteps = 500,
    end_to_end_steps: options.EndToEndSteps = 2000,
    end_to_end_tokens: options.EndToEndTokens = 3_000_000,
    controls: options.Controls = True,
    ablations: options.Ablations = False,
    dense_widths: options.DenseWidths = None,
    glue_dir: options.GlueDir = None,
    task: options.Task = None,
    seeds: options.Seeds = "0",
    start: options.Start = None,
    end_to_end_batch_tokens: options.EndToEndBatchTokens = None,
    whole_lines: options.WholeLines = False,
    resume: Resume = False,
    block: options.OldBlock = None,
    in_sequence_steps: options.OldInSequenceSteps = None,
    sweep: options.OldSweep = None,
) -> None:
    """Replace the FF layers of a trained encoder (BERT, RoBERTa, ModernBERT ...) by fast ones.

    Each new layer learns the outputs of the old one on plain text: short texts,
    and pairs where paragraphs (lines) have several sentences. The result loads
    where the original did, and is reported beside controls. While it works, it
    needs about 4 H bytes of disk per token and layer.

    To choose another layer at every place, see `ultrafastbert sweep`.
    """
    with showing(kept_rows(out / "rows.jsonl")) as show:
        show("loading the library")
        from ultrafastbert.distill import ConvertConfig, convert
        from ultrafastbert.report import write_model_card
        from ultrafastbert.report.usage_figures import draw_diagnosis

        config = ConvertConfig(
            **options.settings(ConvertConfig, context.params), tasks=tuple(task or ())
        )
        rows = convert(model_folder(model), out, text, config, glue_dir, resume, show)
        show("drawing figures")
        draw_diagnosis(rows, out / "figures")
        write_model_card(out)
    _print_results(rows, out)


def _print_results(rows: list["Row"], out: Path) -> None:
    from ultrafastbert.report import convert_tables, usage_tables
    from ultrafastbert.report.answer import conversion_caveats

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
