"""The results in the README, generated from the rows of a folder and never typed."""

from pathlib import Path

from ultrafastbert.report import (
    convert_tables,
    converted_speed,
    layer_tables,
    sweep_tables,
    tables,
    usage_tables,
)
from ultrafastbert.report.engine_table import engine_table
from ultrafastbert.report.write import read_result_rows

BEGIN = "<!-- results:begin -->"
END = "<!-- results:end -->"


def results_block(rows_dir: str | Path) -> str:
    """Return the tables of a folder of `*.jsonl` rows, in Markdown.

    Raises FileNotFoundError for a missing folder, ValueError where there are no rows.
    """
    rows = read_result_rows(rows_dir)
    sections = {
        "Quality after pretraining": tables.pretrain_table(rows),
        "Tasks": tables.task_table(rows),
        "GLUE": tables.glue_table(rows),
        "Converted models: error of each layer": convert_tables.convert_layer_table(rows),
        "Converted models: quality": convert_tables.convert_table(rows),
        "Converted models: quality before training end to end": convert_tables.layerwise_table(
            rows
        ),
        "Converted models: tasks": convert_tables.convert_task_table(rows),
        "Converted models: speed": converted_speed.speed_table(rows),
        "Converted models: which layer where": sweep_tables.sweep_table(rows),
        "Converted models: use of leaves": usage_tables.usage_table(rows),
        "Speed of the layer": layer_tables.layer_table(tables.most_threads(rows)),
        "The paper's table 2, done right": layer_tables.paper_table(rows),
        "Over the number of neurons": layer_tables.width_table(rows),
        "Speed of the whole model": tables.model_table(rows),
        "The whole model in other engines": engine_table(rows),
        "Where it was measured": tables.environment_table(rows),
    }
    parts = [f"### {name}\n\n{text.strip()}\n" for name, text in sections.items() if text]
    return "\n".join(parts)


def update_readme(readme_path: str | Path, rows_dir: str | Path, check: bool = False) -> bool:
    """Put the tables between the README's two markers; return whether they were there already.

    With `check`, nothing is written. Raises ValueError unless the README has the line
    `<!-- results:begin -->` once and after it `<!-- results:end -->` once.
    """
    path = Path(readme_path)
    try:
        text = path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise ValueError(f"{path} is not UTF-8 text; convert it first") from error
    if text.count(BEGIN) != 1 or text.count(END) != 1 or text.index(BEGIN) > text.index(END):
        raise ValueError(f"{path} needs the markers {BEGIN} and {END}, once each and in this order")
    before, rest = text.split(BEGIN)
    _, after = rest.split(END)
    updated = f"{before}{BEGIN}\n{results_block(rows_dir)}{END}{after}"
    if updated != text and not check:
        path.write_text(updated, encoding="utf-8", errors="backslashreplace")
    return updated == text
