"""What result rows say of a converted model: how near the original, how fast, how large."""

from collections.abc import Iterable, Sequence

from ultrafastbert.evaluate.pair_tasks import PAIR_TASKS, SentencePairTask
from ultrafastbert.models.io.card_parts import bullets
from ultrafastbert.report.answer import caveats
from ultrafastbert.report.convert_tables import (
    convert_layer_table,
    convert_table,
    convert_task_table,
    layerwise_table,
)
from ultrafastbert.report.converted_speed import speed_table
from ultrafastbert.report.sweep_tables import sweep_table
from ultrafastbert.report.tables import environment_table, markdown_table
from ultrafastbert.rows import Row

KINDS = (
    "convert",
    "convert_layer",
    "convert_layerwise",
    "convert_task",
    "convert_sweep",
    "convert_choice",
    "convert_speed",
    "shrink",
)
MEGABYTE = 1e6


def converted_results(rows: Iterable[Row]) -> str:
    """Return the results of a converted model in Markdown; empty where rows have none."""
    rows = [row for row in rows if row["kind"] in KINDS]
    sections = {
        "How near the whole model is": convert_table(rows),
        "How near it was before training end to end": layerwise_table(rows),
        "Fine-tuned on tasks": convert_task_table(rows),
        "Which layer where": sweep_table(rows),
        "How near each layer is": convert_layer_table(rows),
        "Speed": speed_table(rows),
        "Stored compactly": shrink_table(rows),
        "What to keep in mind": bullets(caveats(rows)),
        "Where it was measured": environment_table(rows),
    }
    if not rows:
        return ""
    found = [f"### {name}\n\n{text.strip()}" for name, text in sections.items() if text]
    return "## Results\n\n" + "\n\n".join(found)


def shrink_table(rows: Iterable[Row]) -> str:
    """Return what storing a model compactly changed; empty without rows of it."""
    found = [row for row in rows if row["kind"] == "shrink"]
    if not found:
        return ""
    splits = [
        (task, split)
        for task in PAIR_TASKS
        for split in task.splits
        if task.field(split) in found[-1]
    ]
    header = ["weights of fast layers", "MB before", "MB", "cosine of vectors, mean (least)"]
    header += [task.title(f"{split} before, then") for task, split in splits]
    return markdown_table(header, (_shrink_line(row, splits) for row in found[-1:]))


def _shrink_line(row: Row, splits: Sequence[tuple[SentencePairTask, str]]) -> list[str]:
    line = [row["weight_dtype"]]
    line += [f"{row[field] / MEGABYTE:.1f}" for field in ("bytes_before", "bytes")]
    line.append(f"{row['cosine_mean']:.4f} ({row['cosine_min']:.4f})")
    for task, split in splits:
        line.append(f"{row[task.field(split, 'before')]:.2f}, {row[task.field(split)]:.2f}")
    return line
