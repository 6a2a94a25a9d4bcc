"""Converting a dense encoder into one whose FF layers are fast, beside controls."""

import shutil
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from ultrafastbert import rows
from ultrafastbert.data.text import Source, source_key, text_apart_from
from ultrafastbert.distill.conversion import Conversion
from ultrafastbert.distill.plan import ConvertConfig
from ultrafastbert.evaluate.similarity import similar_pairs
from ultrafastbert.models.io.saved import model_digest
from ultrafastbert.runs import run_folder
from ultrafastbert.runs.status import Status
from ultrafastbert.train import finetune as glue

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
        FileExistsError: if the folder holds results and `resume` is not set.
        BlockingIOError: while another process uses the folder.
        FileNotFoundError, OSError: for a model or text that is not there.
        ValueError: for an unknown architecture or layer, too little text, or too little disk, and
            for results of other settings or of another model, text or `glue_dir`.
    """
    config, out_dir, model_dir = config or ConvertConfig(), Path(out_dir), Path(model_dir)
    with run_folder.locked(out_dir):
        run_folder.check(out_dir, SETTINGS, resume)
        read = text_apart_from(text, out_dir)
        run_folder.check_inputs(out_dir, model_dir, *map(str, read))
        return _convert(model_dir, out_dir, read, config, glue_dir, resume, on_status)


def _convert(
    model_dir: Path,
    out_dir: Path,
    text: Sequence[str | Path],
    config: ConvertConfig,
    glue_dir: str | Path | None,
    resume: bool,
    on_status: Status,
) -> list[rows.Row]:
    if config.tasks and glue_dir is None:
        raise ValueError(f"tasks={config.tasks} need glue_dir, the folder of their data")
    pairs = similar_pairs(glue_dir)
    labelled = {f"stsb {split}": dataset for split, dataset in pairs.items()}
    for task in config.tasks:  # before hours of work depend on them
        for split, dataset in glue.load_task(glue.get_task(task), glue_dir).items():
            labelled[f"{task} {split}"] = dataset
    on_status("loading the original", 0, None)
    run = Conversion(config, model_dir, text, out_dir, on_status)
    settings = {
        **asdict(config),
        "model": model_digest(model_dir),
        "text": source_key(text),
        "glue_dir": glue.data_digest(labelled),
    }
    run_folder.claim(out_dir, SETTINGS, settings, resume)
    run.check_disk()
    run.distill_layers()
    run.finish_models(pairs)
    if glue_dir is not None:
        run.fine_tune(Path(glue_dir))
    shutil.rmtree(run.work, ignore_errors=True)
    return rows.read_rows(run.rows_path)
