"""The command `ultrafastbert`: parses, calls, prints. One file a command, or a group of them.

Commands import what only they need themselves, so that --help does not wait for all of it.
"""

import transformers
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
from ultrafastbert.cli.quantize import quantize_command
from ultrafastbert.cli.quickstart import quickstart_command
from ultrafastbert.cli.report import report_app
from ultrafastbert.cli.streams import prepare_streams
from ultrafastbert.cli.sweep import sweep_command

app = typer.Typer(
    help="Train, fine-tune, measure and use encoders with fast feedforward layers.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
)
# In the order of --help, which shows groups last.
app.command("quickstart")(quickstart_command)
app.command("pretrain")(pretrain_command)
app.command("glue")(glue_command)
app.command("convert")(convert_command)
app.command("sweep")(sweep_command)
app.command("quantize")(quantize_command)
app.command("diagnose")(diagnose_command)
app.command("import")(import_command)
app.command("encode")(encode_command)
app.command("fill-mask")(fill_mask_command)
app.add_typer(bench_app)
app.add_typer(report_app)
app.add_typer(export_app)


def main() -> None:
    """Run the command line; errors of input and machine are one line and exit code 2."""
    prepare_streams()
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    keep_freed_memory()
    with one_line_errors():
        app()
