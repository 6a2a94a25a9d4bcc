"""Converting a dense encoder into one whose FF layers are fast, beside controls."""

import shutil
from dataclasses import asdict
from pathlib import Path

from ultrafastbert import glue, rows, run_folder
from ultrafastbert.convert.conversion import Conversion
from ultrafastbert.convert.evaluation.similarity import similar_pairs
from ultrafastbert.convert.plan import ConvertConfig
from ultrafastbert.convert.status import Status
from ultrafastbert.data.text import Source, named_sources, source_key

SETTINGS = "convert.json"


def convert(
    model_dir: str | Path,
    out_dir: str | Path,
    text: Source,
    config: ConvertConfig | None = None,
    glue_dir: str | Path | None = None,
    resume: bool = False,
    on_status: Status = lambda what, done, total: None,
) -> list[rows.Row]:
    """Convert the dense encoder of a folder into one of another folder; return the result rows.

    Each FF block is replaced by a layer of the family that learns, on plain text, what the block
    makes of its inputs, then again after the layers before it, then with the whole model. The
    folder gets the model with the original's tokenizer and pooling,
    `controls/NAME/` with the same model with other layers, and `rows.jsonl`: a row of kind
    `convert_layer` for each layer and contestant, `convert_in_sequence` where it learned again,
    `convert_curve` for points of the last training, and for each model one of kind
    `convert_layerwise` before that training and one of kind `convert` after it. With `glue_dir`, a
    folder with `stsb/`, models are scored on STS-B, beside the teacher, and fine-tuned on the tasks
    that the configuration names, a row of kind `convert_task` each.

    Raises:
        FileExistsError: if the folder holds a run and `resume` is not set.
        FileNotFoundError, OSError: for a model or text that is not there.
        ValueError: for an unknown architecture or layer, too little text, or too little disk.
    """
    config, out_dir, model_dir = config or ConvertConfig(), Path(out_dir), Path(model_dir)
    run_folder.check(out_dir, SETTINGS, resume)
    if config.tasks and glue_dir is None:
        raise ValueError(f"tasks={config.tasks} need glue_dir, the folder of their data")
    for task in config.tasks:  # before hours of work depend on them
        glue.load_task(glue.get_task(task), glue_dir)
    pairs = similar_pairs(glue_dir)
    on_status("loading the original", 0, None)
    text = named_sources(text, "text")
    run = Conversion(config, model_dir, text, out_dir, on_status)
    settings = {**asdict(config), "model": str(model_dir.resolve()), "text": source_key(text)}
    run_folder.claim(out_dir, SETTINGS, settings, resume)
    run.check_disk()
    run.distill_layers()
    run.finish_models(pairs)
    if glue_dir is not None:
        run.fine_tune(Path(glue_dir))
    shutil.rmtree(run.work, ignore_errors=True)
    return rows.read_rows(run.rows_path)
