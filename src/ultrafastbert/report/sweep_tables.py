"""Rows of a sweep -> tables: whole models by their time, and what choosing by layer gains."""

import itertools
from collections.abc import Iterable, Sequence

from ultrafastbert.evaluate.pair_tasks import score_titles
from ultrafastbert.report.tables import NONE, count, latest, markdown_table, number
from ultrafastbert.rows import Row

SCORES = score_titles("validation")


def sweep_models(rows: Iterable[Row]) -> list[Row]:
    """Return the rows of a sweep's models, from the slowest on, each measurement once."""
    found = [{**row, "ffn": tuple(row["ffn"])} for row in rows if row["kind"] == "convert_sweep"]
    return sorted(latest(found, "ffn"), key=lambda row: -row["latency_text_ms"])


def is_uniform(row: Row) -> bool:
    """Return whether a model has the same in every layer."""
    return len(set(row["ffn"])) == 1


def describe(ffn: Sequence[str | None]) -> str:
    """Return what is in the layers of a model, from the first on, in few words."""
    runs = [(member or "original", len(list(same))) for member, same in itertools.groupby(ffn)]
    if len(runs) == 1:
        return "the original" if ffn[0] is None else f"{ffn[0]} in every layer"
    return ", ".join(member if n == 1 else f"{n} x {member}" for member, n in runs)


def last_choice(rows: Iterable[Row]) -> Row | None:
    """Return the row of the model that was chosen last."""
    choices = [{**row, "ffn": tuple(row["ffn"])} for row in rows if row["kind"] == "convert_choice"]
    return choices[-1] if choices else None


def chosen_ffn(rows: Iterable[Row]) -> tuple[str | None, ...] | None:
    """Return what is in the layers of the model that was chosen last."""
    choice = last_choice(rows)
    return choice["ffn"] if choice else None


def sweep_table(rows: Sequence[Row]) -> str:
    """Return the models of a sweep: how far from the original, how fast; empty without rows."""
    models, chosen = sweep_models(rows), chosen_ffn(rows)
    if not models:
        return ""
    header = ["feedforward layers, first to last", "last states unexplained, %"]
    scores = {field: t for field, t in SCORES.items() if any(field in row for row in models)}
    header += scores.values()
    header += ["one text of 128 tokens, ms", "x original (p10 to p90)"]
    header += ["32 texts of 32, ms", "x original"]
    body = []
    for row in models:
        mark = " (chosen)" if row["ffn"] == chosen else ""
        line = [describe(row["ffn"]) + mark, f"{100 * row['unexplained_states']:.1f}"]
        line += [f"{row[field]:.1f}" if field in row else NONE for field in scores]
        low, middle, high = row["speedup_text"]
        line += [number(row["latency_text_ms"]), f"{middle:.2f}x ({low:.2f} to {high:.2f})"]
        line += [number(row["latency_batch_ms"]), f"{row['speedup_batch'][1]:.2f}x"]
        body.append(line)
    return markdown_table(header, body)


def gains(rows: Iterable[Row]) -> list[str]:
    """Return what choosing by layer gains over each uniform model, in the same time by the plan."""
    models = sweep_models(rows)
    texts = []
    for uniform in filter(is_uniform, models):
        rivals = [row for row in models if row["predicted_ms"] <= uniform["predicted_ms"]]
        best = min(rivals, key=lambda row: row["unexplained_states"])
        if best["ffn"] != uniform["ffn"] and uniform["ffn"][0] is not None:
            texts.append(
                f"In the time of {describe(uniform['ffn'])}, "
                f"{describe(best['ffn'])} leaves {100 * best['unexplained_states']:.1f} % of the "
                f"last states unexplained instead of {100 * uniform['unexplained_states']:.1f} %."
            )
    return texts


def trained(rows: Sequence[Row]) -> list[str]:
    """Return what training as a whole gained for the model chosen last, if it was trained so."""
    after = last_choice(rows)
    if not after or not after.get("end_to_end_steps"):
        return []
    before = next(row for row in sweep_models(rows) if row["ffn"] == after["ffn"])
    text = f"Trained end to end ({count(after['end_to_end_steps'])} updates), the chosen model "
    text += f"leaves {100 * after['unexplained_states']:.1f} % of the last states unexplained "
    text += f"instead of {100 * before['unexplained_states']:.1f} %"
    for field, title in SCORES.items():
        if field in after and field in before:
            text += f"; {title} {after[field]:.1f} instead of {before[field]:.1f}"
    return [f"{text}."]
