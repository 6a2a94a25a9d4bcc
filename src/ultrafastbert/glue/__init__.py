"""Fine-tuning and evaluation on the nine GLUE tasks, and on any labelled sentences."""

from ultrafastbert.glue.config import GlueConfig
from ultrafastbert.glue.data import data_digest, load_task
from ultrafastbert.glue.finetune import fine_tune, fine_tune_on, run_glue
from ultrafastbert.glue.tasks import TASKS, TaskSpec, get_task, score
from ultrafastbert.glue.trainer import Progress

__all__ = [
    "TASKS",
    "GlueConfig",
    "Progress",
    "TaskSpec",
    "data_digest",
    "fine_tune",
    "fine_tune_on",
    "get_task",
    "load_task",
    "run_glue",
    "score",
]
