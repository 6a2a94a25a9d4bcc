"""Whole models of a conversion: trained end to end, scored before and after, and saved."""

from dataclasses import asdict

from transformers import PreTrainedModel

from ultrafastbert import rows
from ultrafastbert.distill.config import row_fields, tokens_of
from ultrafastbert.distill.conversion import Conversion
from ultrafastbert.distill.end_to_end import EndToEndConfig
from ultrafastbert.distill.run import END_TO_END
from ultrafastbert.distill.teacher.distance import distance
from ultrafastbert.distill.teacher.targets import Targets
from ultrafastbert.interpret.usage import usage_rows
from ultrafastbert.models.converted.feedforward import ConvertedFeedForward
from ultrafastbert.runs.status import counting

# Kinds of rows of whole models: before they are trained end to end, and as they are in the end.
LAYERWISE, FINISHED = "convert_layerwise", "convert"

# Settings that all rows of whole models have of their training.
SETTINGS = (
    "tokens", "steps", "batch_tokens", "in_sequence_steps", "end_to_end_steps", "end_to_end_tokens",
)  # fmt: skip


def finish_models(conversion: Conversion) -> None:
    """Train whole models end to end and score them before and after; the teacher last.

    Those of the first seed are saved.
    """
    run, n_tokens = conversion.run, conversion.config.end_to_end_tokens
    layerwise, done = _scored(conversion, LAYERWISE), _scored(conversion, FINISHED)
    if models := [case for case in conversion.models if case not in done]:
        held_out, train = (run.targets(part, n_tokens) for part in ("validation", "train"))
    for seed, name in models:
        model = conversion.student(seed, name)
        if conversion.config.end_to_end_steps and (seed, name) not in layerwise:
            _score(conversion, seed, name, model, held_out, LAYERWISE)
        _finish(conversion, seed, name, model, train, held_out)
    if (None, "teacher") not in done:
        held_out = run.targets("validation", n_tokens)
        _score(conversion, None, "teacher", run.teacher, held_out, FINISHED)


def _scored(conversion: Conversion, kind: str) -> set[tuple[int | None, str]]:
    return {(row["seed"], row["model"]) for row in conversion.run.rows(kind)}


def _finish(
    conversion: Conversion,
    seed: int,
    name: str,
    model: PreTrainedModel,
    train: Targets,
    held_out: Targets,
) -> None:
    run, checkpoints = conversion.run, f"{name}.seed{seed}"
    config = EndToEndConfig(conversion.config.end_to_end_steps, seed=seed)
    ffn = conversion.candidates[seed][name].ffn
    what = f"{ffn} ({name}, seed {seed})"
    curve = run.train_whole(model, train, config, checkpoints, what, held_out)
    of_model = {"model": name, "ffn": ffn, "seed": seed} | conversion.fields | _settings(conversion)
    points = ({"kind": "convert_curve", "step": n} | at | of_model for n, at in curve.items())
    run.append(*points)
    if seed == conversion.first_seed:
        run.save(model, conversion.folder(name))
        if name == "fff":
            _record_usage(conversion, model)
    _score(conversion, seed, name, model, held_out, FINISHED)
    run.remove(f"{END_TO_END}/{checkpoints}")


def _settings(conversion: Conversion) -> rows.Row:
    settings = asdict(conversion.config)
    return {field: settings[field] for field in SETTINGS}


def _record_usage(conversion: Conversion, model: PreTrainedModel) -> None:
    """Keep how a model uses its leaves, with rows of kind `convert_layer_usage`."""
    run, n_tokens = conversion.run, tokens_of("validation", conversion.config.tokens)
    found = usage_rows(
        model,
        run.tokenizer,
        run.texts("validation"),
        n_tokens,
        run.max_length,
        counting(run.on_status, "leaf usage", n_tokens),
    )
    run.append(*(row | {"model": "fff", "seed": conversion.first_seed} for row in found))


def _score(
    conversion: Conversion,
    seed: int | None,
    name: str,
    model: PreTrainedModel,
    held_out: Targets,
    kind: str,
) -> None:
    """Keep how near a model is to the teacher and how good its sentence vectors are."""
    run, config = conversion.run, row_fields(conversion.config)
    del config["seeds"]
    row: rows.Row = {"kind": kind, "model": name, **config, "seed": seed} | conversion.fields
    ffn = None if seed is None else conversion.candidates[seed][name].ffn
    row["ffn"] = ffn
    row["n_active"] = ConvertedFeedForward(run.hidden_size, ffn).n_active if ffn else None
    run.on_status(f"scoring {name}", 0, 1)
    run.append(row | distance(model, held_out) | run.scores(model))
