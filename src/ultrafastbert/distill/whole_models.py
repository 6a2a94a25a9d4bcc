"""Whole models of a conversion: trained end to end, scored before and after, and saved."""

from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from transformers import PreTrainedModel

from ultrafastbert.distill.config import tokens_of
from ultrafastbert.distill.conversion import Conversion
from ultrafastbert.distill.end_to_end import GOING_ON, EndToEndConfig
from ultrafastbert.distill.run import END_TO_END
from ultrafastbert.distill.teacher.distance import distance
from ultrafastbert.distill.teacher.targets import Targets
from ultrafastbert.interpret.usage import usage_rows
from ultrafastbert.models.converted.feedforward import ConvertedFeedForward
from ultrafastbert.rows.conversion import ConvertCurveRow, ConvertLayerwiseRow, ConvertRow
from ultrafastbert.runs.status import counting

# Settings that all rows of whole models have of their training; those of layers learning alone are
# not those of a model that goes on from another.
ALONE = ("tokens", "steps", "batch_tokens", "sequential_steps")
SETTINGS = (*ALONE, "end_to_end_steps", "end_to_end_tokens")

Measured = type[ConvertLayerwiseRow] | type[ConvertRow]


def finish_models(conversion: Conversion) -> None:
    """Train whole models end to end and score them before and after; the teacher last.

    Those of the first seed are saved.
    """
    run, n_tokens = conversion.run, conversion.config.end_to_end_tokens
    layerwise, done = (_scored(conversion, kind) for kind in (ConvertLayerwiseRow, ConvertRow))
    if models := [case for case in conversion.models if case not in done]:
        held_out, train = (run.targets(part, n_tokens) for part in ("validation", "train"))
    for seed, name in models:
        model = conversion.student(seed, name)
        if conversion.config.end_to_end_steps and (seed, name) not in layerwise:
            _score(conversion, seed, name, model, held_out, ConvertLayerwiseRow)
        _finish(conversion, seed, name, model, train, held_out)
    if (None, "teacher") not in done:
        held_out = run.targets("validation", n_tokens)
        _score(conversion, None, "teacher", run.teacher, held_out, ConvertRow)


def _scored(conversion: Conversion, kind: Measured) -> set[tuple[int | None, str]]:
    return {(row.seed, row.model) for row in conversion.run.rows(kind)}


def _finish(
    conversion: Conversion,
    seed: int,
    name: str,
    model: PreTrainedModel,
    train: Targets,
    held_out: Targets,
) -> None:
    run, checkpoints = conversion.run, f"{name}.seed{seed}"
    settings = conversion.config
    batch_tokens = settings.end_to_end_batch_tokens or EndToEndConfig.batch_tokens
    rates = GOING_ON if settings.start else {}
    config = EndToEndConfig(settings.end_to_end_steps, batch_tokens, seed=seed, **rates)
    ffn = conversion.candidates[seed][name].ffn
    what = f"{ffn} ({name}, seed {seed})"
    curve = run.train_whole(model, train, config, checkpoints, what, held_out)
    of_model: dict[str, Any] = {"model": name, "ffn": ffn, "seed": seed, **_settings(conversion)}
    conversion.append(
        *(ConvertCurveRow(step=step, metrics=at, **of_model) for step, at in curve.items())
    )
    if seed == conversion.first_seed:
        run.save(model, conversion.folder(name))
        if name == "fff":
            _record_usage(conversion, model)
    _score(conversion, seed, name, model, held_out, ConvertRow)
    run.remove(f"{END_TO_END}/{checkpoints}")


def _settings(conversion: Conversion) -> dict[str, int]:
    unused = _unused(conversion)
    return {name: getattr(conversion.config, name) for name in SETTINGS if name not in unused}


def _unused(conversion: Conversion) -> tuple[str, ...]:
    """Return the settings that mean nothing for a conversion."""
    return ALONE if conversion.config.start else ()


def _record_usage(conversion: Conversion, model: PreTrainedModel) -> None:
    """Keep how a model uses its leaves."""
    run, n_tokens = conversion.run, tokens_of("validation", conversion.config.tokens)
    found = usage_rows(
        model,
        run.tokenizer,
        run.texts("validation"),
        n_tokens,
        run.max_length,
        counting(run.on_status, "leaf usage", n_tokens, "tokens"),
    )
    run.append(*(replace(row, model="fff", seed=conversion.first_seed) for row in found))


def _score(
    conversion: Conversion,
    seed: int | None,
    name: str,
    model: PreTrainedModel,
    held_out: Targets,
    kind: Measured,
) -> None:
    """Keep how near a model is to the teacher and how good its sentence vectors are."""
    run, settings, start = conversion.run, asdict(conversion.config), conversion.config.start
    hidden = ("ffn", "seeds", "end_to_end_batch_tokens", "whole_lines")
    for field in (*hidden, *_unused(conversion)):
        del settings[field]
    settings["start"] = start and Path(start).absolute().name
    ffn = None if seed is None else conversion.candidates[seed][name].ffn
    run.on_status(f"scoring {name}", 0, 1)
    row = kind(
        model=name,
        ffn=ffn,
        n_active=ConvertedFeedForward(run.hidden_size, ffn).n_active if ffn else None,
        seed=seed,
        metrics=distance(model, held_out),
        scores=run.scores(model),
        **settings,
    )
    conversion.append(row)
