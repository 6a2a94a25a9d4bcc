"""A report of result rows, worth reading: `report.md`, `report.html` and the figures."""

import base64
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from jinja2 import Environment, FileSystemLoader
from markdown_it import MarkdownIt

from ultrafastbert.report import sections
from ultrafastbert.report.figures import draw_all
from ultrafastbert.rows import read_rows
from ultrafastbert.rows.row import Row
from ultrafastbert.runs.outputs import check_folder

TEMPLATE = "page.html.j2"
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
    addresses = {name: f"figures/{path.name}" for name, path in figures.items()}
    text = compose(rows, addresses, title, model_path)
    # Names of folders may have bytes that are not UTF-8.
    (out_dir / "report.md").write_text(text, encoding="utf-8", errors="backslashreplace")
    page = out_dir / "report.html"
    page.write_text(to_html(text, title, out_dir), encoding="utf-8", errors="backslashreplace")
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
    rows: Sequence[Row],
    figures: Mapping[str, str],
    title: str,
    model_path: str | Path | None = None,
) -> str:
    """Return the report in Markdown; `figures` has the addresses of those that were drawn."""
    found = sections.compose(rows, figures)
    if model_path:
        found["Use the model"] = _usage(model_path)
    found["What to do next"] = NEXT_STEPS.strip()
    return f"# {title}\n\n{sections.headed(found, level=2)}\n"


def _usage(model_path: str | Path) -> str:
    return f"""```python
import ultrafastbert  # registers the model with transformers
from transformers import pipeline

fill_mask = pipeline("fill-mask", {str(model_path)!r})
fill_mask(f"Return the {{fill_mask.tokenizer.mask_token}} of the list.")
```"""


def to_html(markdown: str, title: str, folder: Path) -> str:
    """Return a page of a text in Markdown, with the PNG figures of a folder in it."""
    body = MarkdownIt("commonmark").enable("table").render(markdown)

    def inline(match: re.Match) -> str:
        data = base64.b64encode((folder / match[1]).read_bytes()).decode()
        return f'src="data:image/png;base64,{data}"'

    body = re.sub(r'src="(figures/[^"]+\.png)"', inline, body)
    templates = Environment(
        loader=FileSystemLoader(Path(__file__).parent), autoescape=True, keep_trailing_newline=True
    )
    return templates.get_template(TEMPLATE).render(title=title, body=body)
