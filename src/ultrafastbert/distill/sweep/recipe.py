"""Choosing the operating point: which member of the family in which layer of an encoder."""

import shutil
from dataclasses import asdict
from pathlib import Path

from transformers import PreTrainedModel

from ultrafastbert import rows
from ultrafastbert.data.sampling import texts_of
from ultrafastbert.data.text import Source, source_key, text_apart_from
from ultrafastbert.distill.end_to_end import EndToEndConfig, distill_end_to_end
from ultrafastbert.distill.plan import ConvertConfig
from ultrafastbert.distill.sweep.allocation import Members
from ultrafastbert.distill.sweep.blocks import SweepBlocks, SweepConfig
from ultrafastbert.distill.sweep.models import SweepModels
from ultrafastbert.distill.sweep.target import Target
from ultrafastbert.distill.teacher.targets import capture_targets
from ultrafastbert.evaluate.similarity import similar_pairs
from ultrafastbert.models.converted.folder import save_converted
from ultrafastbert.models.io.saved import model_digest
from ultrafastbert.runs import run_folder
from ultrafastbert.runs.status import Status, counting
from ultrafastbert.train import finetune as glue

SETTINGS = "sweep.json"
WHOLE = "end_to_end"
ANY = Target()


def sweep(
    model_dir: str | Path,
    out_dir: str | Path,
    text: Source,
    config: SweepConfig | None = None,
    target: Target = ANY,
    glue_dir: str | Path | None = None,
    resume: bool = False,
    on_status: Status = lambda what, done, total: None,
    end_to_end_steps: int = 0,
    end_to_end_tokens: int = ConvertConfig.end_to_end_tokens,
) -> list[rows.Row]:
    """Find the best choices of members, layer by layer; save one as a model; return result rows.

    Every member learns every layer for a short time. What it costs is measured: how far the last
    hidden states of the model are from the original's with that one block replaced, and how long
    the model takes with it in every layer. From the sums follow all choices that no other one
    beats. Some of them are measured as whole models, beside those with one member in every layer,
    with a row of kind `convert_sweep` each; with `glue_dir`, a folder with `stsb/`, they are scored
    on STS-B, too.

    The best of those measured is saved in `out_dir`, as `convert` does, with a row of kind
    `convert_choice`; with `end_to_end_steps`, after so many updates of the whole model on
    `end_to_end_tokens` of the text, and measured again. With `resume` and another target or another
    number of updates another one takes its place; no layer is trained again.

    Raises:
        FileExistsError: if the folder holds results and `resume` is not set.
        BlockingIOError: while another process uses the folder.
        FileNotFoundError, OSError: for a model or text that is not there.
        ValueError: for an unknown architecture, too little text or disk, a target that is out of
            reach, and for results of other settings or of another model, text or `glue_dir`.
    """
    config, out_dir, model_dir = config or SweepConfig(), Path(out_dir), Path(model_dir)
    for name, value, least in (
        ("end_to_end_steps", end_to_end_steps, 0),
        ("end_to_end_tokens", end_to_end_tokens, 1),
    ):
        if value < least:
            raise ValueError(f"{name}={value} must be at least {least}")
    with run_folder.locked(out_dir):
        run_folder.check(out_dir, SETTINGS, resume)
        read = text_apart_from(text, out_dir)
        run_folder.check_inputs(out_dir, model_dir, *map(str, read))
        pairs = similar_pairs(glue_dir)
        on_status("loading the original", 0, None)
        blocks = SweepBlocks(config, model_dir, read, out_dir, on_status)
        settings = {
            **asdict(config),
            "model": model_digest(model_dir),
            "text": source_key(read),
            "glue_dir": glue.data_digest(pairs),
        }
        run_folder.claim(out_dir, SETTINGS, settings, resume)
        blocks.train()
        models = SweepModels(blocks, pairs.get("validation"))
        models.time_uniform()
        _choose(models, target, model_dir, out_dir, end_to_end_steps, end_to_end_tokens)
        return rows.read_rows(blocks.rows_path)


def _choose(
    models: SweepModels,
    target: Target,
    model_dir: Path,
    out_dir: Path,
    end_to_end_steps: int,
    end_to_end_tokens: int,
) -> None:
    """Measure whole models and save the best one of a target, unless it was the last one saved."""
    blocks = models.blocks
    models.measure([*models.points(), models.planned(target)])
    chosen = models.choose(target)
    choice: rows.Row = {"kind": "convert_choice", "ffn": list(chosen)}
    choice |= {f"target_{name}": value for name, value in asdict(target).items()}
    choice |= {"end_to_end_steps": end_to_end_steps, "end_to_end_tokens": end_to_end_tokens}
    last = (blocks.rows("convert_choice") or [{}])[-1]
    if last != {**last, **choice}:
        model = blocks.converted(chosen)
        if end_to_end_steps:
            _train_whole(model, blocks, chosen, end_to_end_steps, end_to_end_tokens)
            choice |= models.scores(model)
        save_converted(model, model_dir, out_dir)
        rows.append_row(blocks.rows_path, choice)
        shutil.rmtree(blocks.work / WHOLE, ignore_errors=True)


def _train_whole(
    model: PreTrainedModel, blocks: SweepBlocks, members: Members, steps: int, n_tokens: int
) -> None:
    """Train a model of a sweep end to end, in place; what the same settings began goes on."""
    folder = blocks.work / WHOLE / str(n_tokens)
    blocks.on_status("reading text", 0, None)
    targets = capture_targets(
        blocks.teacher,
        blocks.tokenizer,
        texts_of(blocks.text, validation=False),
        n_tokens,
        folder / "train",
        blocks.config.max_length,
        blocks.on_status,
    )
    config = EndToEndConfig(steps, seed=blocks.config.seed)
    checkpoints = folder / f"{blocks.name(members)}.{steps}"
    on_step = counting(blocks.on_status, "end to end: the chosen model", steps)
    distill_end_to_end(model, targets, config, checkpoints, on_step)
