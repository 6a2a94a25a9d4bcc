"""Fine-tuning the models of a conversion, and the teacher, on labelled tasks."""

import itertools
from collections.abc import Callable
from pathlib import Path

from ultrafastbert.distill.conversion import Conversion
from ultrafastbert.distill.whole_models import FINISHED, SETTINGS
from ultrafastbert.runs.status import Status
from ultrafastbert.train import finetune

# A trained encoder needs no more, whatever its FF layers.
FINE_TUNING = finetune.GlueConfig(epochs=3, learning_rate=1e-4, batch_size=32, max_train_rows=8000)


def fine_tune_models(conversion: Conversion, glue_dir: Path) -> None:
    """Fine-tune the models that were saved, and the teacher, with a row `convert_task` each."""
    run, config = conversion.run, conversion.config
    done = {(row["model"], row["task"], row["seed"]) for row in run.rows("convert_task")}
    saved = (None, conversion.first_seed)
    models = [row for row in run.rows(FINISHED) if row["seed"] in saved]
    for task, seed, model in itertools.product(config.tasks, config.seeds, models):
        name = model["model"]
        if (name, task, seed) in done:
            continue
        on_progress = _showing(name, run.on_status)
        found = finetune.fine_tune(
            conversion.folder(name), task, seed, FINE_TUNING, glue_dir, on_progress
        )
        of_model = {field: model[field] for field in ("model", "ffn", "n_active", *SETTINGS)}
        run.append(found | of_model | {"kind": "convert_task"} | conversion.fields)


def _showing(name: str, on_status: Status) -> Callable[[finetune.Progress], None]:
    def show(progress: finetune.Progress) -> None:
        what = f"fine-tuning {name} on {progress.task} (seed {progress.seed}): {progress.stage}"
        on_status(what, progress.step, progress.n_steps)

    return show
