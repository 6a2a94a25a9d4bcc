"""Model cards with results: what result rows say of a saved model, in its README.md."""

from collections.abc import Sequence
from pathlib import Path

from transformers import AutoConfig

from ultrafastbert.models import UltraFastBertConfig
from ultrafastbert.models.io.card import write_card
from ultrafastbert.report import tables
from ultrafastbert.report.answer import caveats
from ultrafastbert.report.converted_results import converted_results
from ultrafastbert.rows import read_rows
from ultrafastbert.rows.models import ModelRow
from ultrafastbert.rows.row import Row
from ultrafastbert.rows.training import GlueRow, PretrainRow

# Files of rows that pretraining and fine-tuning leave in the folder of a model.
ROWS_OF_A_MODEL = ("rows.jsonl", "glue.jsonl")


def write_model_card(folder: str | Path, rows_path: str | Path | None = None) -> bool:
    """Write the README.md of a model's folder with its results; return whether it did.

    Results are those of the folder's `rows.jsonl` and `glue.jsonl`, and those of `rows_path`, a
    file of rows or a folder of such files. A README.md that somebody wrote or edited is kept.

    Raises OSError if the folder has no model or `rows_path` does not exist, ValueError naming a
    line that is not a row.
    """
    folder = Path(folder)
    paths = [folder / name for name in ROWS_OF_A_MODEL if (folder / name).exists()]
    own = [row for path in paths for row in read_rows(path)]
    others = read_rows(rows_path) if rows_path is not None else []
    config = AutoConfig.from_pretrained(folder)
    if isinstance(config, UltraFastBertConfig):
        return write_card(folder, results(config, [*own, *others], own))
    return write_card(folder, converted_results([*own, *others]))


def results(config: UltraFastBertConfig, rows: Sequence[Row], own: Sequence[Row] = ()) -> str:
    """Return the results of a model in Markdown; empty where rows have none that concern it.

    `own` are the rows from the model's own folder, which tell its name in the tables.
    """
    rows = [row for row in rows if _concerns(row, config)]
    sections = {
        "Pretraining": tables.pretrain_table(rows),
        "Fine-tuned on tasks": f"{tables.task_table(rows)}\n{tables.glue_table(rows, False)}",
        "Speed of the whole model": tables.model_table(rows),
        "What to keep in mind": "\n".join(f"- {text}" for text in caveats(rows)),
        "Where it was measured": tables.environment_table(rows),
    }
    if not rows:
        return ""
    names = {row.name for row in own if isinstance(row, PretrainRow)}
    called = "".join(f"This model is called {name}.\n\n" for name in sorted(names))
    found = [f"### {name}\n\n{text.strip()}" for name, text in sections.items() if text.strip()]
    return f"## Results\n\n{called}" + "\n\n".join(found)


def _concerns(row: Row, config: UltraFastBertConfig) -> bool:
    """Return whether a row is of a training, or times a model of this shape or its controls."""
    if isinstance(row, ModelRow):
        shape = (row.family, row.hidden_size, row.num_hidden_layers)
        return shape == (config.ffn_name, config.hidden_size, config.num_hidden_layers)
    return isinstance(row, PretrainRow | GlueRow)
