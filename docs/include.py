"""Hooks of mkdocs: files of the repository that lie outside the documentation's folder.

A page's line `<!-- include: ../FILE -->` becomes the text of that file. Links to files outside the
folder, which work where the repository is browsed, become plain text on the site.
"""

import posixpath
import re
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

INCLUDE = re.compile(r"^<!-- include: (\S+) -->$", re.MULTILINE)
LINK = re.compile(r"(?<!!)\[([^\]]*)\]\(([^)\s#:]+)(#[^)\s]*)?\)")
FIGURES = ("results", "figures")  # what the included tables show


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the figures of the results, which keep their address `figures/NAME`."""
    root = Path(config.docs_dir).parent
    for path in sorted(root.joinpath(*FIGURES).glob("*.svg")):
        name = posixpath.join(FIGURES[1], path.name)
        if files.get_file_from_path(name) is None:
            files.append(File.generated(config, name, abs_src_path=str(path)))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Put in the files that are included, and take out links that the site cannot follow."""
    folder = Path(config.docs_dir)

    def included(match: re.Match[str]) -> str:
        text = (folder / match[1]).read_text(encoding="utf-8")
        text = text.replace(f"](../{folder.name}/", "](")  # from there into this folder
        return re.sub(r"^# .*\n", "", text, count=1)

    def link(match: re.Match[str]) -> str:
        target = posixpath.normpath(posixpath.join(posixpath.dirname(page.file.src_uri), match[2]))
        return match[0] if files.get_file_from_path(target) else match[1]

    return LINK.sub(link, INCLUDE.sub(included, markdown))
