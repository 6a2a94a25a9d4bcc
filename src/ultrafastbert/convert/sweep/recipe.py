"""Choosing the operating point: which member of the family in which layer of an encoder."""

from dataclasses import asdict
from pathlib import Path

from ultrafastbert import rows, run_folder
from ultrafastbert.convert.evaluation.similarity import similar_pairs
from ultrafastbert.convert.folder import save_converted
from ultrafastbert.convert.status import Status
from ultrafastbert.convert.sweep.allocation import Members
from ultrafastbert.convert.sweep.blocks import SweepBlocks, SweepConfig
from ultrafastbert.convert.sweep.models import SweepModels
from ultrafastbert.convert.sweep.target import Target
from ultrafastbert.data.text import Source, source_key

SETTINGS = "sweep.json"
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
) -> list[rows.Row]:
    """Find the best choices of members, layer by layer; save one as a model; return result rows.

    Every member learns every layer for a short time. What it costs is measured: how far the last
    hidden states of the model are from the original's with that one block replaced, and how long
    the model takes with it in every layer. From the sums follow all choices that no other one
    beats. Some of them are measured as whole models, beside those with one member in every layer,
    with a row of kind `convert_sweep` each; with `glue_dir`, a folder with `stsb/`, they are scored
    on STS-B, too. No model is trained as a whole.

    The best of those measured is saved in `out_dir`, as `convert` does, with a row of kind
    `convert_choice`. With `resume` and another target another one takes its place; nothing is
    trained again.

    Raises:
        FileExistsError: if the folder holds a run and `resume` is not set.
        FileNotFoundError, OSError: for a model or text that is not there.
        ValueError: for an unknown architecture, too little text or disk, or a target that is out of
            reach.
    """
    config, out_dir, model_dir = config or SweepConfig(), Path(out_dir), Path(model_dir)
    run_folder.check(out_dir, SETTINGS, resume)
    pairs = similar_pairs(glue_dir)
    blocks = SweepBlocks(config, model_dir, text, out_dir, on_status)
    settings = {**asdict(config), "model": str(model_dir.resolve()), "text": source_key(text)}
    run_folder.claim(out_dir, SETTINGS, settings, resume)
    blocks.train()
    models = SweepModels(blocks, pairs.get("validation"))
    models.time_uniform()
    models.measure([*models.points(), models.planned(target)])
    chosen = models.choose(target)
    save_converted(blocks.converted(chosen), model_dir, out_dir)
    _note_choice(blocks, chosen, target)
    return rows.read_rows(blocks.rows_path)


def _note_choice(blocks: SweepBlocks, chosen: Members, target: Target) -> None:
    """Append a row, unless the last one says the same."""
    row: rows.Row = {"kind": "convert_choice", "ffn": list(chosen)}
    row |= {f"target_{name}": value for name, value in asdict(target).items()}
    before = blocks.rows("convert_choice")
    if not before or before[-1] != {**before[-1], **row}:
        rows.append_row(blocks.rows_path, row)
