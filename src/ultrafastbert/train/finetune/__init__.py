"""Fine-tuning and evaluation on the nine GLUE tasks, and on any labelled sentences."""

from ultrafastbert.imports.extras import require

require("accelerate", "datasets", "scipy", "sklearn")

from ultrafastbert.evaluate.task_data import data_digest, load_task
from ultrafastbert.evaluate.tasks import TASKS, TaskSpec, get_task, score
from ultrafastbert.train.finetune.config import GlueConfig
from ultrafastbert.train.finetune.glue import fine_tune, fine_tune_on, run_glue
from ultrafastbert.train.finetune.trainer import Progress

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
