"""Choosing the operating point: which member of the family in which layer of an encoder."""

from dataclasses import asdict, dataclass
from pathlib import Path

from ultrafastbert import rows, run_folder
from ultrafastbert.convert.allocation import Allocation
from ultrafastbert.convert.conversion import Status
from ultrafastbert.convert.folder import save_converted
from ultrafastbert.convert.recipe import similar_pairs
from ultrafastbert.convert.sweep_blocks import SweepBlocks, SweepConfig
from ultrafastbert.convert.sweep_models import SweepModels
from ultrafastbert.data.text import Source, source_key

SETTINGS = "sweep.json"


@dataclass(frozen=True)
class Target:
    """Which model of a sweep is wanted, by one of two measures.

    Without either it is that of least error which saves half of the time that can be saved.

    Attributes:
        speedup: that of least error which is so many times faster than the original: one text of
            128 tokens, PyTorch, float32, one thread.
        explained: the fastest one that explains this share of the variance of the original's last
            hidden states, on held-out text.

    Raises:
        ValueError: for both, a speed-up below 1, a share that is none.
    """

    speedup: float | None = None
    explained: float | None = None

    def __post_init__(self) -> None:
        if self.speedup is not None and self.explained is not None:
            given = f"speedup={self.speedup}, explained={self.explained}"
            raise ValueError(f"{given}: give one of them")
        if self.speedup is not None and self.speedup < 1:
            raise ValueError(f"speedup={self.speedup} must be at least 1")
        if self.explained is not None and not 0 < self.explained <= 1:
            raise ValueError(f"explained={self.explained} must be above 0 and at most 1")


DEFAULT_TARGET = Target()


def sweep(
    model_dir: str | Path,
    out_dir: str | Path,
    text: Source,
    config: SweepConfig | None = None,
    target: Target = DEFAULT_TARGET,
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

    The one that is wanted is saved in `out_dir`, as `convert` does, with a row of kind
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
    chosen = _choose(models, target)
    models.measure([*models.points(), chosen])
    save_converted(blocks.converted(chosen.members), model_dir, out_dir)
    _note_choice(blocks, chosen, target)
    return rows.read_rows(blocks.rows_path)


def _choose(models: SweepModels, target: Target) -> Allocation:
    if target.speedup is not None:
        return models.best_of_speedup(target.speedup)
    if target.explained is not None:
        return models.fastest_that_explains(target.explained)
    return models.best_of_half_the_saving()


def _note_choice(blocks: SweepBlocks, chosen: Allocation, target: Target) -> None:
    """Append a row, unless the last one says the same."""
    row: rows.Row = {"kind": "convert_choice", "ffn": list(chosen.members)}
    row |= {f"target_{name}": value for name, value in asdict(target).items()}
    before = blocks.rows("convert_choice")
    if not before or before[-1] != {**before[-1], **row}:
        rows.append_row(blocks.rows_path, row)
