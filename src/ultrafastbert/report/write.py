"""A report of result rows, worth reading: `report.md`, `report.html` and the figures."""

import base64
import html
import re
from collections.abc import Sequence
from pathlib import Path

from markdown_it import MarkdownIt

from ultrafastbert.report import (
    convert_tables,
    converted_speed,
    layer_tables,
    sweep_tables,
    tables,
    usage_tables,
)
from ultrafastbert.report.answer import answers, caveats
from ultrafastbert.report.engine_table import engine_table
from ultrafastbert.report.figures import draw_all
from ultrafastbert.report.threshold_table import threshold_table
from ultrafastbert.rows import Row, read_rows
from ultrafastbert.runs.outputs import check_folder

CSS = """
body { font: 16px/1.55 system-ui, sans-serif; color: #1a1a1a; max-width: 62rem; margin: 2rem auto;
  padding: 0 1rem; }
h1, h2, h3 { line-height: 1.25; } h2 { margin-top: 2.2rem; border-bottom: 1px solid #ddd; }
table { border-collapse: collapse; font-size: 0.86rem; display: block; overflow-x: auto; }
th, td { padding: 0.3rem 0.65rem; border-bottom: 1px solid #ddd; }
th { border-bottom: 2px solid #888; vertical-align: bottom; }
img { max-width: 100%; } code, pre { background: #f4f4f4; border-radius: 3px; }
pre { padding: 0.7rem; overflow-x: auto; }
"""
CAPTIONS = {
    "loss_curves": "Training loss over the tokens read, one line a seed.",
    "quality": "Quality on validation texts. Dots are seeds.",
    "convert_curves": "Held-out error of converted models while they are trained as a whole; the "
    "first point is what training layer by layer gives.",
    "sweep": "A converted encoder with other feedforward layers: chosen layer by layer, and the "
    "same in every layer.",
    "layer_speed": "How many times faster the layer is than each baseline, by tokens per call. "
    "Bands span the 10th to the 90th percentile.",
    "layer_kernels": "Each way to compute the fast layer, beside the fastest dense layer of the "
    "machine, by tokens per call; one thread.",
    "layer_limit": "How much of the speed that the machine's measured peak and bandwidth allow is "
    "reached, by tokens per call.",
    "width": "Time of a token over the number of neurons: a tree visits one neuron more each time "
    "their number doubles, a dense layer all of them.",
    "model_speed": "Whole models, each computed its fastest way. Whiskers span the 10th to the "
    "90th percentile.",
}
NEXT_STEPS = """
- More seeds and tokens: `ultrafastbert pretrain --help`
- Fine-tuning on GLUE: `ultrafastbert glue --help`
- Speed on your own machine: `ultrafastbert bench layer --help`, `ultrafastbert bench model --help`
"""


def write_report(
    rows_path: str | Path,
    out_dir: str | Path,
    title: str = "UltraFastBERT: results",
    model_path: str | Path | None = None,
) -> Path:
    """Write `report.md`, `report.html` and `figures/` into a folder; return the HTML file.

    `rows_path` is a file of rows, or a folder of such files; `model_path`, if given, is the model
    that the report says how to load.

    Raises FileNotFoundError for a missing path, ValueError where there are no rows, OSError for a
    folder that cannot be written to.
    """
    rows = read_result_rows(rows_path)
    out_dir = Path(out_dir)
    check_folder(out_dir)
    figures = draw_all(rows, out_dir / "figures")
    text = compose(rows, figures, title, model_path)
    # Names of folders may have bytes that are not UTF-8.
    (out_dir / "report.md").write_text(text, encoding="utf-8", errors="backslashreplace")
    page = out_dir / "report.html"
    html_text = _to_html(text, title, out_dir)
    page.write_text(html_text, encoding="utf-8", errors="backslashreplace")
    return page


def read_result_rows(path: str | Path) -> list[Row]:
    """Return the rows of a file or folder; ValueError where there are none."""
    if not Path(path).exists():
        raise FileNotFoundError(f"no result rows at {path}: there is no such file or folder")
    rows = read_rows(path)
    if not rows:
        raise ValueError(f"no result rows at {path}; run a benchmark or a training first")
    return rows


def compose(
    rows: Sequence[Row], figures: dict[str, Path], title: str, model_path: str | Path | None = None
) -> str:
    """Return the report in Markdown; figures are referred to in the folder `figures`."""

    def figure(name: str) -> str:
        path = figures.get(name)
        return f"![{CAPTIONS[name]}](figures/{path.name})\n\n*{CAPTIONS[name]}*" if path else ""

    sections = {
        "In short": _bullets(answers(rows)),
        "What was trained": _join(
            tables.pretrain_table(rows), figure("quality"), figure("loss_curves")
        ),
        "Tasks": _join(tables.task_table(rows), tables.glue_table(rows)),
        "Converted models": _join(
            convert_tables.convert_layer_table(rows),
            convert_tables.convert_table(rows),
            figure("convert_curves"),
            convert_tables.convert_task_table(rows),
            converted_speed.speed_table(rows),
            usage_tables.usage_table(rows),
            usage_tables.clusterability_table(rows),
        ),
        "Converted models before training end to end": convert_tables.layerwise_table(rows),
        "Which layer where": _join(
            sweep_tables.sweep_table(rows),
            _bullets([*sweep_tables.gains(rows), *sweep_tables.trained(rows)]),
            figure("sweep"),
        ),
        "Speed of the layer": _join(
            layer_tables.layer_table(rows),
            figure("layer_speed"),
            figure("layer_kernels"),
            figure("layer_limit"),
        ),
        "The paper's table 2, done right": layer_tables.paper_table(rows),
        "Over the number of neurons": _join(layer_tables.width_table(rows), figure("width")),
        "Speed of the whole model": _join(tables.model_table(rows), figure("model_speed")),
        "The whole model in other engines": engine_table(rows),
        "What to keep in mind": _bullets(caveats(rows)),
        "Use the model": _usage(model_path) if model_path else "",
        "What to do next": NEXT_STEPS.strip(),
        "Every contestant, µs per token": layer_tables.layer_details(rows),
        "Thresholds of the native core": threshold_table(rows),
        "Where it was measured": _join(
            tables.environment_table(rows), layer_tables.machine_table(rows)
        ),
    }
    body = [f"## {name}\n\n{text.strip()}" for name, text in sections.items() if text.strip()]
    return "\n\n".join([f"# {title}", *body]) + "\n"


def _bullets(texts: list[str]) -> str:
    return "\n".join(f"- {text}" for text in texts)


def _join(*parts: str) -> str:
    return "\n\n".join(part.strip() for part in parts if part.strip())


def _usage(model_path: str | Path) -> str:
    return f"""```python
import ultrafastbert  # registers the model with transformers
from transformers import pipeline

fill_mask = pipeline("fill-mask", {str(model_path)!r})
fill_mask(f"Return the {{fill_mask.tokenizer.mask_token}} of the list.")
```"""


def _to_html(markdown: str, title: str, folder: Path) -> str:
    body = MarkdownIt("commonmark").enable("table").render(markdown)

    def inline(match: re.Match) -> str:
        data = base64.b64encode((folder / match[1]).read_bytes()).decode()
        return f'src="data:image/png;base64,{data}"'

    body = re.sub(r'src="(figures/[^"]+\.png)"', inline, body)
    return (
        f'<!doctype html>\n<html lang="en">\n<meta charset="utf-8">\n'
        f'<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{html.escape(title)}</title>\n<style>{CSS}</style>\n{body}</html>\n"
    )
