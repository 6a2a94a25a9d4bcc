"""A text mix for encoders of sentences and passages: prose, labelled sentences, documentation.

What models are scored on is left out of it: no text of a retrieval task or of rated pairs, nor a
paragraph that holds one of its sentences.
"""

import random
import re
import sysconfig
from collections.abc import Iterator
from pathlib import Path

from ultrafastbert.data.docstrings import STANDARD_LIBRARY, harvest
from ultrafastbert.data.sampling import END_OF_SENTENCE
from ultrafastbert.data.text import Source, read_documents
from ultrafastbert.evaluate.retrieval import documentation
from ultrafastbert.evaluate.retrieval.measure import load_sets
from ultrafastbert.evaluate.retrieval.task import Sources
from ultrafastbert.evaluate.similarity import load_evaluations
from ultrafastbert.evaluate.task_data import load_split
from ultrafastbert.evaluate.tasks import TASKS
from ultrafastbert.runs.outputs import check_file, replacing
from ultrafastbert.runs.status import Show, show_nothing

# A paragraph gives one text: a sentence as often as something longer.
SENTENCE_SHARE, PART_SHARE = 0.5, 0.25
PART_SENTENCES = (2, 3)
# Of paragraphs that document code, so many are kept whole: most have one or two sentences.
WHOLE_DOCUMENTATION = 0.6
LEAST_CHARACTERS = 12
# 256 tokens are about 1,200 characters of English.
MOST_CHARACTERS = 1600
# Shorter sentences, such as "Yes." or headings, are everybody's.
OWN_CHARACTERS = 30
_NO_WORD = re.compile(r"\W+")


def write_text_mix(
    path: str | Path, sources: Sources, prose: Source | None = None, on_status: Show = show_nothing
) -> dict[str, int]:
    """Write a text a line, shuffled; return the number of texts by where they are from.

    Args:
        path: of the new file, for `convert` with `whole_lines`.
        sources: of the evaluations: what they hold is left out, and the training files of GLUE
            tasks in `glue_dir` are read.
        prose: plain text, one paragraph a line.
        on_status: told what is being done.

    Raises FileNotFoundError, OSError and ValueError as `load_sets`, `load_split` and
    `read_documents`.
    """
    check_file(path)
    on_status("reading what models are scored on", 0, None)
    kept_out, generator, counts = _evaluated(sources), random.Random(0), {}
    texts: dict[str, None] = {}
    for name, found in _parts(sources, prose, generator):
        on_status(f"reading {name}", 0, None)
        before = len(texts)
        texts |= dict.fromkeys(text for text in found if not kept_out & _keys(text))
        counts[name] = len(texts) - before
    shuffled = list(texts)
    generator.shuffle(shuffled)
    with replacing(Path(path)) as file:
        file.writelines(f"{text}\n".encode() for text in shuffled)
    return counts


def _parts(
    sources: Sources, prose: Source | None, generator: random.Random
) -> Iterator[tuple[str, Iterator[str]]]:
    if prose is not None:
        yield "prose", _prose(prose, generator)
    for task in TASKS.values():
        rows = load_split(task, "train", sources.glue_dir)
        if rows is not None:
            columns = [rows[column] for column in task.text_columns]
            yield task.title, (_one_line(text) for texts in columns for text in texts)
    yield "documentation", _documentation(generator)


def _evaluated(sources: Sources) -> set[str]:
    """Return keys of all texts that models are scored on, and of their sentences."""
    found = [text for each in load_sets(sources) for text in each.texts]
    for each in load_evaluations(sources.glue_dir):
        for column in each.task.spec.text_columns:
            found += each.pairs[column]
    return {key for text in found for key in _keys(text)}


def _keys(text: str) -> set[str]:
    """Return a text and its sentences as they are compared: lower-case words."""
    sentences = END_OF_SENTENCE.split(text.strip())
    own = [each for each in sentences if len(each) > OWN_CHARACTERS]
    return {_NO_WORD.sub(" ", each.lower()).strip() for each in (text, *own)}


def _prose(source: Source, generator: random.Random) -> Iterator[str]:
    for document in read_documents(source):
        for paragraph in document.splitlines():
            text = _cut(paragraph.strip(), generator)
            if len(text) >= LEAST_CHARACTERS:
                yield text


def _cut(paragraph: str, generator: random.Random) -> str:
    """Return a sentence of a paragraph, some of them, or all."""
    sentences, choice = END_OF_SENTENCE.split(paragraph), generator.random()
    if choice >= SENTENCE_SHARE + PART_SHARE:
        return paragraph[:MOST_CHARACTERS]
    size = 1 if choice < SENTENCE_SHARE else generator.choice(PART_SENTENCES)
    start = generator.randrange(max(1, len(sentences) - size + 1))
    return " ".join(sentences[start : start + size])[:MOST_CHARACTERS]


def _documentation(generator: random.Random) -> Iterator[str]:
    for text in harvest(_libraries()):
        for paragraph in text.text.splitlines():
            sentences = END_OF_SENTENCE.split(paragraph)
            is_whole = generator.random() < WHOLE_DOCUMENTATION
            yield paragraph[:MOST_CHARACTERS] if is_whole else generator.choice(sentences)


def _libraries() -> list[str]:
    """Return the installed packages but those of the documentation task."""
    installed = Path(sysconfig.get_paths()["purelib"])
    names = {path.parent.name for path in installed.glob("*/__init__.py")}
    return sorted(
        name
        for name in names - {*documentation.LIBRARIES, STANDARD_LIBRARY}
        if name.isidentifier() and not name.startswith("_")
    )


def _one_line(text: str) -> str:
    return " ".join(text.split())
