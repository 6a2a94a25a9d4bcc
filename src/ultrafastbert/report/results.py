"""The results of the repository: generated parts of its pages, and its figures, from rows."""

import os
from collections.abc import Sequence
from pathlib import Path

import matplotlib

from ultrafastbert.report import sections
from ultrafastbert.report.figures import FIGURES, save
from ultrafastbert.report.headline import headline_table
from ultrafastbert.report.style import STYLE
from ultrafastbert.report.write import read_result_rows
from ultrafastbert.rows.row import Row
from ultrafastbert.runs.outputs import make_folder

BEGIN = "<!-- results:begin -->"
END = "<!-- results:end -->"
# The figure that the README shows lies in the documentation, the others beside the rows.
HERO = "latency_quality"


def update_results(folder: str | Path, readme: str | Path, check: bool = False) -> bool:
    """Renew what is generated from a folder of rows; return whether the texts were so already.

    All tables go into the folder's README.md, at most ten lines into `readme`, each between the
    lines `<!-- results:begin -->` and `<!-- results:end -->`; figures, as SVG, into the folder's
    `figures/`, that of latency against quality into `docs/figures/` beside `readme`. With `check`,
    nothing is written.

    Raises FileNotFoundError for a missing folder or page, ValueError where there are no rows, and
    unless a page has both lines once, in this order.
    """
    folder, readme = Path(folder), Path(readme)
    rows = read_result_rows(folder)
    pages = (folder / "README.md", readme)
    before = [_read(path) for path in pages]
    stems = _stems(folder, readme)
    if not check:
        _draw(rows, stems)
    blocks = (tables_block(rows, stems, folder), headline_table(rows))
    after = [_replaced(text, block) for text, block in zip(before, blocks, strict=True)]
    if not check:
        for path, old, new in zip(pages, before, after, strict=True):
            if new != old:
                path.write_text(new, encoding="utf-8", errors="backslashreplace")
    return after == before


def tables_block(rows: Sequence[Row], stems: dict[str, Path], folder: Path) -> str:
    """Return all sections in Markdown, with the figures that are there."""
    found = {name: stem.with_suffix(".svg") for name, stem in stems.items()}
    links = {
        name: Path(os.path.relpath(path, folder)).as_posix()
        for name, path in found.items()
        if path.exists()
    }
    return sections.headed(sections.compose(rows, links), level=2) + "\n"


def _stems(folder: Path, readme: Path) -> dict[str, Path]:
    """Return where each figure is, without a suffix."""
    places = {name: folder / "figures" / name for name in FIGURES}
    return places | {HERO: readme.parent / "docs" / "figures" / HERO}


def _draw(rows: Sequence[Row], stems: dict[str, Path]) -> None:
    with matplotlib.rc_context(STYLE):
        for name, stem in stems.items():
            if figure := FIGURES[name](rows):
                make_folder(stem.parent)
                save(figure, stem, ("svg",))


def _read(path: Path) -> str:
    """Return the text of a page; ValueError unless it has the markers."""
    try:
        text = path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise ValueError(f"{path} is not UTF-8 text; convert it first") from error
    if text.count(BEGIN) != 1 or text.count(END) != 1 or text.index(BEGIN) > text.index(END):
        raise ValueError(f"{path} needs the markers {BEGIN} and {END}, once each and in this order")
    return text


def _replaced(text: str, block: str) -> str:
    before, rest = text.split(BEGIN)
    return f"{before}{BEGIN}\n{block}{END}{rest.split(END)[1]}"
