"""Converting a dense encoder into one whose FF layers are fast, beside controls."""

import shutil
from pathlib import Path

from ultrafastbert.data.text import Source
from ultrafastbert.distill import layers, sequential
from ultrafastbert.distill.config import ConvertConfig
from ultrafastbert.distill.conversion import SEQUENTIAL, Conversion
from ultrafastbert.distill.fine_tuning import fine_tune_models
from ultrafastbert.distill.run import opened
from ultrafastbert.distill.whole_models import finish_models
from ultrafastbert.rows import Row, read_rows
from ultrafastbert.rows.conversion import ConvertLayerRow
from ultrafastbert.runs.status import Show, show_nothing

SETTINGS = "convert.json"


def convert(
    model_dir: str | Path,
    out_dir: str | Path,
    text: Source,
    config: ConvertConfig | None = None,
    glue_dir: str | Path | None = None,
    resume: bool = False,
    on_status: Show = show_nothing,
) -> list[Row]:
    """Convert the dense encoder of a folder into one of another folder; return the result rows.

    Each FF layer is replaced by a fast one. It learns, on plain text, the outputs of the original,
    then again after the layers before it are replaced, then with the whole model; with
    `config.start` the whole model goes on from a converted one. The folder gets
    the model with the original's tokenizer and pooling, `controls/NAME/` with the same model with
    other layers, and `rows.jsonl`: a row of kind `convert_layer` for each layer and candidate,
    `convert_sequential` for sequential distillation, `convert_curve` for points of the last
    training, and for each model one of kind `convert_layerwise` before that training and one of
    kind `convert` after it. With `glue_dir`, models are scored on the `pair_tasks` that it has
    (`stsb/`), beside the teacher, and fine-tuned on the tasks that the configuration names, with a
    row of kind `convert_task` each.

    Raises:
        FileExistsError: if the folder holds results and `resume` is not set.
        BlockingIOError: while another process uses the folder.
        FileNotFoundError, OSError: for a model or text that is not there.
        ValueError: for an unknown architecture or layer, too little text, or too little disk, and
            for results of other settings or of another model, text or `glue_dir`.
    """
    config = config or ConvertConfig()
    if config.tasks and glue_dir is None:
        raise ValueError(f"tasks={config.tasks} need glue_dir, the folder of their data")
    with opened(
        config,
        model_dir,
        out_dir,
        text,
        SETTINGS,
        glue_dir,
        resume,
        on_status,
        config.layer_ids,
        config.tasks,
    ) as run:
        conversion = Conversion(config, run)
        run.check_disk(bool(config.sequential_steps), config.end_to_end_tokens)
        _distill_layers(conversion)
        finish_models(conversion)
        if glue_dir is not None:
            fine_tune_models(conversion, Path(glue_dir))
        shutil.rmtree(run.work, ignore_errors=True)
        return read_rows(run.rows_path)


def _distill_layers(conversion: Conversion) -> None:
    """Train the layers that are not trained yet, one by one, then those of models sequentially."""
    run = conversion.run
    if conversion.config.start is not None:
        return
    # A text that is too short is found at the start.
    captured = None if run.rows(ConvertLayerRow) else run.captured()
    left, again = layers.cases_left(conversion), sequential.models_left(conversion)
    if left or again:
        captured = captured or run.captured()
        for case in left:
            layers.distill_layer(conversion, case, captured[case[1]])
        for seed, name in again:
            sequential.distill_sequentially(conversion, seed, name, captured)
    run.remove("train", "validation", SEQUENTIAL)
