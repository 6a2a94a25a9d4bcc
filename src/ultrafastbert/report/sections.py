"""All that a report has, in order: add a table here, and every page shows it."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from ultrafastbert.report import (
    convert_tables,
    converted_results,
    converted_speed,
    layer_tables,
    retrieval_table,
    sweep_tables,
    tables,
    usage_tables,
)
from ultrafastbert.report.answer import answers, caveats
from ultrafastbert.report.cells import join
from ultrafastbert.report.engine_table import engine_table
from ultrafastbert.report.model_table import model_table
from ultrafastbert.report.paired_table import paired_table
from ultrafastbert.report.paper_table import paper_table
from ultrafastbert.report.serving_tables import engine_tables, serving_tables, static_table
from ultrafastbert.report.threshold_table import threshold_table
from ultrafastbert.rows.row import Row

Table = Callable[[Sequence[Row]], str]  # Markdown, empty where rows have nothing for it

# Titles that other pages link to.
QUALITY, SPEED = "Converted models: quality", "Converted models: speed"
LAYER, MODEL = "Speed of the layer", "Speed of the whole model"
SERVING = "Encoders as they are deployed"


@dataclass(frozen=True)
class Section:
    """A heading, and what is below it.

    Attributes:
        title: the heading.
        parts: tables, and names of figures.
    """

    title: str
    parts: tuple[Table | str, ...]


def _short(rows: Sequence[Row]) -> str:
    return _bullets(answers(rows))


def _sweep_gains(rows: Sequence[Row]) -> str:
    return _bullets([*sweep_tables.gains(rows), *sweep_tables.trained(rows)])


def _caveats(rows: Sequence[Row]) -> str:
    return _bullets(caveats(rows))


def _bullets(texts: list[str]) -> str:
    return "\n".join(f"- {text}" for text in texts)


SECTIONS = (
    Section("In short", (_short,)),
    Section("Quality after pretraining", (tables.pretrain_table, "quality", "loss_curves")),
    Section("Seed by seed", (paired_table,)),
    Section("Tasks", (tables.task_table, tables.glue_table)),
    Section("Converted models: each layer", (convert_tables.convert_layer_table,)),
    Section(QUALITY, (convert_tables.convert_table, "latency_quality", "convert_curves")),
    Section("Converted models: before training end to end", (convert_tables.layerwise_table,)),
    Section("Converted models: tasks", (convert_tables.convert_task_table,)),
    Section("Converted models: retrieval", (retrieval_table.retrieval_table,)),
    Section(SPEED, (converted_speed.speed_table,)),
    Section("Converted models: quantized", (converted_results.quantize_table,)),
    Section(SERVING, (serving_tables,)),
    Section("Static embeddings", (static_table,)),
    Section("Which layer where", (sweep_tables.sweep_table, _sweep_gains, "sweep")),
    Section("Use of leaves", (usage_tables.usage_table, usage_tables.clusterability_table)),
    Section(LAYER, (layer_tables.layer_table, "layer_speed", "layer_kernels", "layer_roofline")),
    Section("The paper's table 2, done right", (paper_table,)),
    Section("Over the number of neurons", (layer_tables.width_table, "width")),
    Section(MODEL, (model_table, "model_speed")),
    Section("The whole model in other engines", (engine_table,)),
    Section("What to keep in mind", (_caveats,)),
    Section("Every implementation, µs per token", (layer_tables.layer_details,)),
    Section("Every engine, milliseconds", (engine_tables,)),
    Section("Thresholds of the native core", (threshold_table,)),
    Section("Where it was measured", (tables.environment_table, layer_tables.machine_table)),
)

CAPTIONS = {
    "loss_curves": "Training loss over the tokens read, one line a seed.",
    "quality": "Quality on validation texts. Dots are seeds.",
    "latency_quality": "Latency against quality: the original in several engines, the converted "
    "model and its controls. Bars are standard deviations over seeds.",
    "convert_curves": "Held-out FVU of converted models while they are trained as a whole; the "
    "first point is what training layer by layer gives.",
    "sweep": "A converted encoder with other feedforward layers: chosen layer by layer, and the "
    "same in every layer.",
    "layer_speed": "How many times faster the layer is than each baseline, by tokens per call. "
    "Bands span the 10th to the 90th percentile.",
    "layer_kernels": "Each implementation of the fast layer, beside the fastest dense layer of the "
    "machine, by tokens per call; one thread.",
    "layer_roofline": "Fraction of the roofline, which the machine's measured peak and bandwidth "
    "set, by tokens per call.",
    "width": "Time of a token over the number of neurons: a tree visits one neuron more each time "
    "their number doubles, a dense layer all of them.",
    "model_speed": "Whole models, each computed its fastest way. Whiskers span the 10th to the "
    "90th percentile.",
}


def compose(rows: Sequence[Row], figures: Mapping[str, str]) -> dict[str, str]:
    """Return the sections that rows give in Markdown, by title.

    `figures` has the addresses of those that were drawn, by name.
    """

    def text_of(part: Table | str) -> str:
        if not isinstance(part, str):
            return part(rows)
        caption = CAPTIONS[part]
        return f"![{caption}]({figures[part]})\n\n*{caption}*" if part in figures else ""

    found = {each.title: join(*map(text_of, each.parts)) for each in SECTIONS}
    return {title: text for title, text in found.items() if text}


def headed(sections: Mapping[str, str], level: int) -> str:
    """Return sections below headings of a level, in Markdown."""
    return "\n\n".join(f"{'#' * level} {title}\n\n{text}" for title, text in sections.items())
