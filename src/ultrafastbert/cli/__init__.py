"""The command `ultrafastbert`: parses, calls, prints. One file a command, or a group of them.

Commands import what they need when they run: --help must not wait for torch or transformers.
"""

import sys
from collections.abc import Callable
from typing import Any

import typer

from ultrafastbert.cli.allocator import keep_freed_memory
from ultrafastbert.cli.bench import bench_app
from ultrafastbert.cli.convert import convert_command
from ultrafastbert.cli.diagnose import diagnose_command
from ultrafastbert.cli.encode import encode_command
from ultrafastbert.cli.errors import one_line_errors
from ultrafastbert.cli.export import export_app
from ultrafastbert.cli.fill_mask import fill_mask_command
from ultrafastbert.cli.glue import glue_command
from ultrafastbert.cli.importing import import_command
from ultrafastbert.cli.pretrain import pretrain_command
from ultrafastbert.cli.quantize import quantize_command, shrink_command
from ultrafastbert.cli.quickstart import quickstart_command
from ultrafastbert.cli.report import report_app
from ultrafastbert.cli.retrieval import retrieval_command
from ultrafastbert.cli.streams import prepare_streams
from ultrafastbert.cli.sweep import sweep_command
from ultrafastbert.cli.text_mix import text_mix_command
from ultrafastbert.imports.hooks import after_import

USE, MAKE, MEASURE, REPORT = "Use a model", "Make a model", "Measure", "Reports"
# Of commands that only say how they are called now.
ANY_ARGUMENTS = {"ignore_unknown_options": True, "allow_extra_args": True}

app = typer.Typer(
    help="Encoders with fast feedforward layers: use them, train them, make yours fast.",
    epilog="""Start with one of these:

    ultrafastbert encode "a tree" "a leaf"

    ultrafastbert quickstart OUT --convert

    ultrafastbert convert MODEL OUT --text FILE

Each command has a --help of its own.""",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
)


def _add(panel: str, name: str, command: Callable[..., None], example: str) -> None:
    epilog = f"Example: ultrafastbert {name} {example}"
    app.command(name, rich_help_panel=panel, epilog=epilog)(command)


# In the order of --help, which shows groups after single commands.
_add(USE, "encode", encode_command, "--text-file texts.txt --out vectors.npy")
_add(USE, "fill-mask", fill_mask_command, 'MODEL "the [MASK] of the array"')
_add(USE, "quantize", quantize_command, "MODEL SMALL_MODEL --glue-dir GLUE_FOLDER")
_add(MAKE, "quickstart", quickstart_command, "OUT --convert")
_add(MAKE, "convert", convert_command, "MODEL OUT --ffn 1x6x40 --text corpus.txt")
_add(MAKE, "text-mix", text_mix_command, "mix.txt --text corpus.txt --glue-dir GLUE_FOLDER")
_add(MAKE, "sweep", sweep_command, "MODEL OUT --target-speedup 2 --text corpus.txt")
_add(MAKE, "pretrain", pretrain_command, "OUT --recipe small --text corpus.txt --minutes 30")
_add(MAKE, "glue", glue_command, "MODEL --task cola --data-dir GLUE_FOLDER")
_add(MAKE, "import", import_command, "pbelcak/UltraFastBERT-1x11-long MODEL")
_add(MEASURE, "diagnose", diagnose_command, "MODEL --text corpus.txt")
_add(MEASURE, "retrieval", retrieval_command, "MODEL --original DENSE_MODEL")
app.add_typer(export_app, rich_help_panel=USE)
app.add_typer(bench_app, rich_help_panel=MEASURE)
app.add_typer(report_app, rich_help_panel=REPORT)
app.command("shrink", hidden=True, context_settings=ANY_ARGUMENTS)(shrink_command)


def main() -> None:
    """Run the command line; errors of input and machine are one line and exit code 2."""
    prepare_streams()
    after_import("transformers", _quieten_transformers)
    keep_freed_memory()
    with one_line_errors():
        app()


def _quieten_transformers() -> None:
    """Leave standard error to the progress of commands: errors only, no bars of its own."""
    transformers: Any = sys.modules["transformers"]
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
