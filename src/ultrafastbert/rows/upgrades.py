"""Rows of earlier versions -> fields of today."""

import re
from collections.abc import Callable, Mapping
from typing import Any

Plain = dict[str, Any]

# Version 1: kinds, fields and controls had other names.
KINDS_1 = {
    "shrink": "quantize",
    "convert_in_sequence": "convert_sequential",
    "convert_member": "convert_candidate",
}
FIELDS_1 = {
    "unexplained": "fvu",
    "unexplained_after_norm": "fvu_after_norm",
    "unexplained_states": "fvu_states",
    "unexplained_logits": "fvu_logits",
    "region_unexplained": "fvu_region",
    "linear_unexplained": "fvu_linear",
    "local_unexplained": "fvu_local",
    "dense_unexplained": "fvu_dense",
    "in_sequence_steps": "sequential_steps",
    "layers": "layer_ids",
    "block": "ff_location",
    "members": "candidates",
    "pass": "pass_name",
    "floor_us": "roofline_us",
    "share_of_floor": "roofline_fraction",
    "multiply_adds_per_s": "fma_per_s",
}
MODELS_1 = {"ff_time": "ff_equal_latency"}
# Metrics of whole models had a field each ...
METRICS_1 = ("fvu_states", "fvu_logits", "same_class")
# ... and so had scores, such as stsb_validation_spearman.
_SCORE_1 = re.compile(r"(?P<task>\w+?)_(?P<split>validation|test)(_before)?_(?P<metric>\w+)")


def upgrade(plain: Plain) -> Plain:
    """Return a row of any earlier version as one of today's; ValueError for a newer version."""
    version = plain.get("version", 1)
    if version not in (1, 2):
        raise ValueError(f"version {version} is newer than those read here; update ultrafastbert")
    return plain if version == 2 else _from_version_1(plain)


def _from_version_1(plain: Plain) -> Plain:
    """Return a row of version 1 as one of version 2."""
    row = {FIELDS_1.get(name, name): value for name, value in plain.items()}
    kind = str(plain["kind"])
    kind = KINDS_1.get(kind, kind)
    row["kind"] = kind
    if "model" in row:
        row["model"] = MODELS_1.get(row["model"], row["model"])
    row.pop("contestant", None)  # role or variant, implementation and precision say the same
    return _KINDS[kind](_with_scores(row)) if kind in _KINDS else _with_scores(row)


def _with_scores(row: Plain) -> Plain:
    found: dict[str, list[Plain]] = {}
    kept = {}
    for name, value in row.items():
        if match := _SCORE_1.fullmatch(name):
            score = {key: match[key] for key in ("task", "split", "metric")} | {"value": value}
            found.setdefault("scores_before" if match[3] else "scores", []).append(score)
        else:
            kept[name] = value
    return kept | found


def _layer(row: Plain) -> Plain:
    # Before there was a choice of caches, inputs rotated.
    row = {"cache": "fresh"} | row
    if reason := row.pop("skipped", None):
        row |= {"kind": "skipped", "benchmark": row["kind"], "reason": reason}
    return row


def _speed(row: Plain) -> Plain:
    # Before models were timed in more ways than one, it was this one.
    return {"implementation": "eager", "precision": "float32"} | row


def _whole_model(row: Plain) -> Plain:
    metrics = {name: row.pop(name) for name in METRICS_1 if name in row}
    return {"metrics": metrics} | row


_KINDS: Mapping[str, Callable[[Plain], Plain]] = {
    "layer": _layer,
    "width": _layer,
    "convert_speed": _speed,
    "convert": _whole_model,
    "convert_layerwise": _whole_model,
    "convert_curve": _whole_model,
}
