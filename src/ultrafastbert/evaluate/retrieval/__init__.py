"""Retrieval: does a text's vector find the one text that belongs to it? One file for each task.

A new task is a file with a `RetrievalTask` and an entry of `RETRIEVAL_TASKS`; users' own files of
pairs need neither, see `pair_file`.
"""

from ultrafastbert.evaluate.retrieval.documentation import DOCUMENTATION
from ultrafastbert.evaluate.retrieval.duplicates import DUPLICATES
from ultrafastbert.evaluate.retrieval.paragraphs import PARAGRAPHS
from ultrafastbert.evaluate.retrieval.questions import QUESTIONS
from ultrafastbert.evaluate.retrieval.task import RetrievalTask

RETRIEVAL_TASKS: dict[str, RetrievalTask] = {
    task.name: task for task in (QUESTIONS, DUPLICATES, PARAGRAPHS, DOCUMENTATION)
}
