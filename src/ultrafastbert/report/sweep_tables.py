"""Rows of a sweep -> tables: whole models by their time, and what choosing by layer gains."""

import itertools
from collections.abc import Iterable, Sequence

from ultrafastbert.report.cells import NONE, count, markdown_table, number
from ultrafastbert.report.grouping import latest, of_kind
from ultrafastbert.report.titles import task_title
from ultrafastbert.rows.row import Row, Score
from ultrafastbert.rows.sweep import ConvertChoiceRow, ConvertSweepRow, LayerChoice

ScoreOf = tuple[str, str, str]  # task, split, metric


def sweep_models(rows: Iterable[Row]) -> list[ConvertSweepRow]:
    """Return the rows of a sweep's models, from the slowest on, each measurement once."""
    found = latest(of_kind(rows, ConvertSweepRow), lambda row: row.ffn)
    return sorted(found, key=lambda row: -row.latency_text_ms)


def is_uniform(row: ConvertSweepRow) -> bool:
    """Return whether a model has the same in every layer."""
    return len(set(row.ffn)) == 1


def describe(ffn: LayerChoice) -> str:
    """Return what is in the layers of a model, from the first on, in few words."""
    runs = [(member or "original", len(list(same))) for member, same in itertools.groupby(ffn)]
    if len(runs) == 1:
        return "the original" if ffn[0] is None else f"{ffn[0]} in every layer"
    return ", ".join(member if n == 1 else f"{n} x {member}" for member, n in runs)


def last_choice(rows: Iterable[Row]) -> ConvertChoiceRow | None:
    """Return the row of the model that was chosen last."""
    choices = of_kind(rows, ConvertChoiceRow)
    return choices[-1] if choices else None


def chosen_ffn(rows: Iterable[Row]) -> LayerChoice | None:
    """Return what is in the layers of the model that was chosen last."""
    choice = last_choice(rows)
    return choice.ffn if choice else None


def score_titles(models: Iterable[ConvertSweepRow]) -> dict[ScoreOf, str]:
    """Return the titles of all scores that models have."""
    found = dict.fromkeys(score.of for row in models for score in row.scores)
    return {of: task_title(of[0], of[2], of[1]) for of in found}


def score_value(scores: Iterable[Score], of: ScoreOf) -> float | None:
    """Return one of a model's scores, or None."""
    return next((score.value for score in scores if score.of == of), None)


def sweep_table(rows: Sequence[Row]) -> str:
    """Return the models of a sweep: how far from the original, how fast; empty without rows."""
    models, chosen = sweep_models(rows), chosen_ffn(rows)
    if not models:
        return ""
    scores = score_titles(models)
    header = ["feedforward layers, first to last", "FVU of the last hidden states, %"]
    header += [*scores.values(), "one text of 128 tokens, ms", "x original (p10 to p90)"]
    header += ["32 texts of 32, ms", "x original"]
    body = []
    for row in models:
        mark = " (chosen)" if row.ffn == chosen else ""
        values = [score_value(row.scores, of) for of in scores]
        low, middle, high = row.speedup_text
        body.append(
            [
                describe(row.ffn) + mark,
                f"{100 * row.fvu_states:.1f}",
                *(NONE if value is None else f"{value:.1f}" for value in values),
                number(row.latency_text_ms),
                f"{middle:.2f}x ({low:.2f} to {high:.2f})",
                number(row.latency_batch_ms),
                f"{row.speedup_batch.median:.2f}x",
            ]
        )
    return markdown_table(header, body)


def gains(rows: Iterable[Row]) -> list[str]:
    """Return what choosing by layer gains over each uniform model, in the same time by the plan."""
    models = sweep_models(rows)
    texts = []
    for uniform in filter(is_uniform, models):
        rivals = [row for row in models if row.predicted_ms <= uniform.predicted_ms]
        best = min(rivals, key=lambda row: row.fvu_states)
        if best.ffn != uniform.ffn and uniform.ffn[0] is not None:
            texts.append(
                f"In the time of {describe(uniform.ffn)}, {describe(best.ffn)} has an FVU of the "
                f"last hidden states of {100 * best.fvu_states:.1f} % instead of "
                f"{100 * uniform.fvu_states:.1f} %."
            )
    return texts


def trained(rows: Sequence[Row]) -> list[str]:
    """Return what training as a whole gained for the model chosen last, if it was trained so."""
    after = last_choice(rows)
    if after is None or not after.end_to_end_steps or after.fvu_states is None:
        return []
    before = next(row for row in sweep_models(rows) if row.ffn == after.ffn)
    text = f"Trained end to end ({count(after.end_to_end_steps)} training steps), the chosen model "
    text += f"has an FVU of the last hidden states of {100 * after.fvu_states:.1f} % "
    text += f"instead of {100 * before.fvu_states:.1f} %"
    for score in after.scores:
        if (earlier := score_value(before.scores, score.of)) is not None:
            title = task_title(score.task, score.metric, score.split)
            text += f"; {title} {score.value:.1f} instead of {earlier:.1f}"
    return [f"{text}."]
