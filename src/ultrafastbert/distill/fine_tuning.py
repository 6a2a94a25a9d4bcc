"""Fine-tuning the models of a conversion, and the teacher, on labelled tasks."""

import itertools
from collections.abc import Callable
from pathlib import Path

from ultrafastbert.distill.conversion import Conversion
from ultrafastbert.distill.whole_models import SETTINGS
from ultrafastbert.rows.conversion import ConvertRow, ConvertTaskRow
from ultrafastbert.rows.row import shared_fields
from ultrafastbert.rows.training import TaskResult
from ultrafastbert.runs.status import Show
from ultrafastbert.train import finetune

# A trained encoder needs no more, whatever its FF layers.
FINE_TUNING = finetune.GlueConfig(epochs=3, learning_rate=1e-4, batch_size=32, max_train_rows=8000)


def fine_tune_models(conversion: Conversion, glue_dir: Path) -> None:
    """Fine-tune the models that were saved, and the teacher, with a `ConvertTaskRow` each."""
    run, config = conversion.run, conversion.config
    done = {(row.model, row.task, row.seed) for row in run.rows(ConvertTaskRow)}
    saved = (None, conversion.first_seed)
    models = [row for row in run.rows(ConvertRow) if row.seed in saved]
    for task, seed, model in itertools.product(config.tasks, config.seeds, models):
        name = model.model
        if (name, task, seed) in done:
            continue
        on_progress = _showing(name, run.on_status)
        found = finetune.fine_tune(
            conversion.folder(name), task, seed, FINE_TUNING, glue_dir, on_progress
        )
        of_model = {
            field: getattr(model, field) for field in ("model", "ffn", "n_active", *SETTINGS)
        }
        conversion.append(ConvertTaskRow(**shared_fields(found, TaskResult) | of_model))


def _showing(name: str, on_status: Show) -> Callable[[finetune.Progress], None]:
    def show(progress: finetune.Progress) -> None:
        what = f"fine-tuning {name} on {progress.task} (seed {progress.seed}): {progress.stage}"
        on_status(what, progress.step, progress.n_steps)

    return show
