"""What result rows say of a converted model: how near the original, how fast, how large."""

from collections.abc import Iterable

from ultrafastbert.models.io.card_parts import bullets
from ultrafastbert.report.answer import caveats
from ultrafastbert.report.cells import markdown_table
from ultrafastbert.report.convert_tables import (
    convert_layer_table,
    convert_table,
    convert_task_table,
    layerwise_table,
)
from ultrafastbert.report.converted_speed import speed_table
from ultrafastbert.report.grouping import of_kind
from ultrafastbert.report.retrieval_table import retrieval_table
from ultrafastbert.report.sweep_tables import sweep_table
from ultrafastbert.report.tables import environment_table
from ultrafastbert.report.titles import task_title
from ultrafastbert.rows import conversion, models, retrieval, sweep
from ultrafastbert.rows.models import QuantizeRow
from ultrafastbert.rows.row import Row

KINDS = (
    conversion.ConvertRow,
    conversion.ConvertLayerRow,
    conversion.ConvertLayerwiseRow,
    conversion.ConvertTaskRow,
    sweep.ConvertSweepRow,
    sweep.ConvertChoiceRow,
    models.ConvertSpeedRow,
    models.QuantizeRow,
    retrieval.RetrievalRow,
)
MEGABYTE = 1e6


def converted_results(rows: Iterable[Row]) -> str:
    """Return the results of a converted model in Markdown; empty where rows have none."""
    rows = [row for row in rows if isinstance(row, KINDS)]
    if not rows:
        return ""
    sections = {
        "How near the whole model is": convert_table(rows),
        "Retrieval": retrieval_table(rows),
        "How near it was before training end to end": layerwise_table(rows),
        "Fine-tuned on tasks": convert_task_table(rows),
        "Which layer where": sweep_table(rows),
        "How near each layer is": convert_layer_table(rows),
        "Speed": speed_table(rows),
        "Stored compactly": quantize_table(rows),
        "What to keep in mind": bullets(caveats(rows)),
        "Where it was measured": environment_table(rows),
    }
    found = [f"### {name}\n\n{text.strip()}" for name, text in sections.items() if text]
    return "## Results\n\n" + "\n\n".join(found)


def quantize_table(rows: Iterable[Row]) -> str:
    """Return what quantizing a model changed, by the last row; empty without rows of it."""
    found = of_kind(rows, QuantizeRow)
    if not found:
        return ""
    row = found[-1]
    before = {score.of: score.value for score in row.scores_before}
    header = ["weights of fast layers", "MB before", "MB", "cosine of vectors, mean (least)"]
    header += [
        task_title(score.task, score.metric, f"{score.split} before, then") for score in row.scores
    ]
    line = [row.weight_dtype]
    line += [f"{size / MEGABYTE:.1f}" for size in (row.bytes_before, row.bytes)]
    line.append(f"{row.cosine_mean:.4f} ({row.cosine_min:.4f})")
    line += [f"{before[score.of]:.2f}, {score.value:.2f}" for score in row.scores]
    return markdown_table(header, [line])
