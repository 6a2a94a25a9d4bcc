"""Pretrained models beside the tree, seed by seed.

Models of one seed share the initial values of all weights that they have in common, the text and
the masks, so that a difference within a seed is not one of draws.
"""

import statistics
from collections.abc import Iterable, Mapping

from ultrafastbert.report.cells import NONE, join, markdown_table, spread
from ultrafastbert.report.grouping import group, latest, of_kind
from ultrafastbert.report.titles import VARIANT_TITLES
from ultrafastbert.rows.row import Row
from ultrafastbert.rows.training import PretrainRow

TREE, TWIN, WITHOUT = "fff", "ff", "none"
HEADER = ["model", "feedforward layer", "validation loss", "less the tree's, same seed"]
HEADER += ["seeds where the tree is ahead", "gap from no FF layer to all neurons, %"]

# Validation loss by seed.
Losses = Mapping[int, float]


def paired_table(rows: Iterable[Row]) -> str:
    """Return validation losses and their differences to the tree's: mean and spread over seeds.

    Empty unless a tree and another model have at least two seeds in common.
    """
    return join(*map(_table, _comparisons(rows)))


def _comparisons(rows: Iterable[Row]) -> list[list[PretrainRow]]:
    """Return the models that were trained on as many tokens and differ in their FF layers only."""
    found = [row for row in of_kind(rows, PretrainRow) if row.paired]
    once = latest(found, lambda row: (_setting(row), row.name, row.seed))
    return list(group(once, _setting).values())


def _setting(row: PretrainRow) -> tuple[int, ...]:
    return row.hidden_size, row.num_hidden_layers, row.tokens


def _table(same: list[PretrainRow]) -> str:
    models = group(same, lambda row: row.name)
    losses = {name: {row.seed: row.validation_loss for row in of} for name, of in models.items()}
    others = [name for name in losses if name != TREE]
    if TREE not in losses or not any(len(_shared(losses, name)) > 1 for name in others):
        return ""
    titles = ((VARIANT_TITLES.get(name, name), of[0].ffn, name) for name, of in models.items())
    return markdown_table(HEADER, [[*title, *_cells(losses, name)] for *title, name in titles])


def _shared(losses: Mapping[str, Losses], *names: str) -> list[int]:
    """Return the seeds that models have in common with the tree."""
    return sorted(set.intersection(*(set(losses.get(name, ())) for name in (TREE, *names))))


def _cells(losses: Mapping[str, Losses], name: str) -> list[str]:
    own, tree = losses[name], losses[TREE]
    seeds = _shared(losses, name)
    differences = [own[seed] - tree[seed] for seed in seeds]
    ahead = f"{sum(each > 0 for each in differences)} of {len(seeds)}"
    is_other = name != TREE and bool(seeds)
    return [
        spread(list(own.values()), 3),
        spread(differences, 3) if is_other else NONE,
        ahead if is_other else NONE,
        _gap(losses, name),
    ]


def _gap(losses: Mapping[str, Losses], name: str) -> str:
    """Return the share of the distance from no FF layer to the dense twin, the mean over seeds."""
    if name in (TWIN, WITHOUT):
        return NONE
    seeds = _shared(losses, name, TWIN, WITHOUT)
    if not seeds:
        return NONE
    own, without, twin = (
        statistics.mean(losses[each][seed] for seed in seeds) for each in (name, WITHOUT, TWIN)
    )
    if without <= twin:
        return NONE
    return f"{100 * (without - own) / (without - twin):.0f}"
