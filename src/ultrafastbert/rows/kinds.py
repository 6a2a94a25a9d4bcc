"""All kinds of rows, and how one is read from JSON and written."""

from collections.abc import Mapping
from typing import Any

from ultrafastbert.rows import (
    conversion,
    engines,
    layers,
    models,
    retrieval,
    sweep,
    training,
    usage,
    values,
)
from ultrafastbert.rows.row import Row
from ultrafastbert.rows.upgrades import upgrade

_ROWS: tuple[type[Row], ...] = (
    layers.LayerRow,
    layers.WidthRow,
    layers.SkippedRow,
    layers.MachineRow,
    layers.ThresholdRow,
    models.ModelRow,
    models.ConvertSpeedRow,
    models.QuantizeRow,
    engines.EngineRow,
    engines.EngineSkippedRow,
    training.PretrainRow,
    training.PretrainCurveRow,
    training.GlueRow,
    conversion.ConvertLayerRow,
    conversion.ConvertSequentialRow,
    conversion.ConvertLayerwiseRow,
    conversion.ConvertRow,
    conversion.ConvertCurveRow,
    conversion.ConvertTaskRow,
    conversion.ConvertTimeRow,
    sweep.ConvertSweepRow,
    sweep.ConvertLatencyRow,
    sweep.ConvertCandidateRow,
    sweep.ConvertChoiceRow,
    usage.ConvertLayerUsageRow,
    usage.ClusterabilityRow,
    retrieval.RetrievalRow,
)
KINDS = {row.kind: row for row in _ROWS}


def parse(plain: Mapping[str, Any]) -> Row:
    """Return the row that an object of JSON holds, of this or an earlier version.

    Raises ValueError for an unknown kind, a newer version, and fields that are missing, unknown or
    of another type.
    """
    fields = upgrade(dict(plain))
    kind = fields.pop("kind")
    fields.pop("version", None)
    if kind not in KINDS:
        raise ValueError(f"kind {kind!r} is unknown")
    try:
        return values.read_fields(KINDS[kind], fields)
    except ValueError as error:
        raise ValueError(f"kind {kind!r}: {error}") from None


def to_plain(row: Row) -> dict[str, Any]:
    """Return a row as an object of JSON."""
    return {"kind": row.kind, "version": row.version, **values.write(row)}
