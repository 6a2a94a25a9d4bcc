"""First to second paragraph of modules' documentation: technical English, without network.

Of Python's standard library and of some packages that the extra `train` needs; models that are
scored on it must not be trained on their documentation.
"""

from collections.abc import Iterator

from ultrafastbert.data.docstrings import STANDARD_LIBRARY, harvest
from ultrafastbert.evaluate.retrieval.task import Pair, RetrievalTask, Sources

LIBRARIES = (STANDARD_LIBRARY, "networkx", "pandas", "sklearn")


def _pairs(sources: Sources) -> Iterator[Pair]:
    for text in harvest(LIBRARIES):
        paragraphs = text.text.splitlines()
        if len(paragraphs) > 1:
            yield paragraphs[0], paragraphs[1]


DOCUMENTATION = RetrievalTask("documentation", "first to second paragraph of documentation", _pairs)
