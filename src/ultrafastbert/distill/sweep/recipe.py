"""Choosing the operating point: which candidate in which layer of an encoder."""

from dataclasses import replace
from pathlib import Path

from transformers import PreTrainedModel

from ultrafastbert.data.text import Source
from ultrafastbert.distill.config import ConvertConfig
from ultrafastbert.distill.end_to_end import EndToEndConfig
from ultrafastbert.distill.run import END_TO_END, opened
from ultrafastbert.distill.sweep.allocation import Choice
from ultrafastbert.distill.sweep.config import SweepConfig
from ultrafastbert.distill.sweep.layers import SweepLayers, name_of
from ultrafastbert.distill.sweep.models import SweepModels
from ultrafastbert.distill.sweep.target import Target
from ultrafastbert.rows import Row, read_rows
from ultrafastbert.rows.sweep import ConvertChoiceRow
from ultrafastbert.runs.status import Show, show_nothing

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
    on_status: Show = show_nothing,
    end_to_end_steps: int = 0,
    end_to_end_tokens: int = ConvertConfig.end_to_end_tokens,
) -> list[Row]:
    """Find the best choices of candidates, layer by layer; save one as a model; return result rows.

    Every candidate learns every layer for a short time. What it costs is measured: how far the last
    hidden states of the model are from the original's with that one layer replaced, and how long
    the model takes with it in every layer. From the sums follow all choices that no other one
    beats. Some of them are measured as whole models, beside those with one candidate in every
    layer, with a row of kind `convert_sweep` each; with `glue_dir`, they are scored on the
    `pair_tasks` that it has (`stsb/`), too.

    The best of those measured is saved in `out_dir`, as `convert` does, with a row of kind
    `convert_choice`; with `end_to_end_steps`, after so many steps of the whole model on
    `end_to_end_tokens` of the text, and measured again. With `resume` and another target or another
    number of steps another one takes its place; no layer is trained again.

    Raises:
        FileExistsError: if the folder holds results and `resume` is not set.
        BlockingIOError: while another process uses the folder.
        FileNotFoundError, OSError: for a model or text that is not there.
        ValueError: for an unknown architecture, too little text or disk, a target that is out of
            reach, and for results of other settings or of another model, text or `glue_dir`.
    """
    config = config or SweepConfig()
    for name, value, least in (
        ("end_to_end_steps", end_to_end_steps, 0),
        ("end_to_end_tokens", end_to_end_tokens, 1),
    ):
        if value < least:
            raise ValueError(f"{name}={value} must be at least {least}")
    with opened(config, model_dir, out_dir, text, SETTINGS, glue_dir, resume, on_status) as run:
        run.check_disk(False, end_to_end_tokens if end_to_end_steps else 0)
        layers = SweepLayers(config, run)
        layers.train()
        models = SweepModels(layers)
        models.time_uniform()
        models.measure([*models.points(), models.planned(target)])
        _save_choice(layers, models.choose(target), target, end_to_end_steps, end_to_end_tokens)
        return read_rows(run.rows_path)


def _save_choice(
    layers: SweepLayers,
    choice: Choice,
    target: Target,
    end_to_end_steps: int,
    end_to_end_tokens: int,
) -> None:
    """Save the model of a choice, unless it was the last one saved; train it first if wanted."""
    run = layers.run
    row = ConvertChoiceRow(
        ffn=choice,
        target_speedup=target.speedup,
        target_explained=target.explained,
        end_to_end_steps=end_to_end_steps,
        end_to_end_tokens=end_to_end_tokens,
    )
    last = next(reversed(run.rows(ConvertChoiceRow)), None)
    if last and row == replace(last, environment=None, fvu_states=None, scores=()):
        return
    model = layers.converted(choice)
    if end_to_end_steps:
        _train_whole(layers, model, choice, end_to_end_steps, end_to_end_tokens)
        row = replace(row, **layers.quality(model))
    run.save(model, run.out_dir)
    run.append(row)
    run.remove(END_TO_END)


def _train_whole(
    layers: SweepLayers, model: PreTrainedModel, choice: Choice, steps: int, n_tokens: int
) -> None:
    """Train the chosen model end to end, in place; what the same settings began goes on."""
    config = EndToEndConfig(steps, seed=layers.config.seed)
    checkpoints = f"{n_tokens}/{name_of(choice)}.{steps}"
    train = layers.run.targets("train", n_tokens)
    layers.run.train_whole(model, train, config, checkpoints, "the chosen model")
