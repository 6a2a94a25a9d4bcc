"""Diagnosed models: tables of leaf usage, top tokens of regions, clusterability."""

import statistics
from collections.abc import Iterable
from typing import NamedTuple

from ultrafastbert.report.cells import markdown_table, number
from ultrafastbert.report.grouping import group, latest, of_kind
from ultrafastbert.rows.row import Row, columns_of
from ultrafastbert.rows.usage import ClusterabilityRow, ConvertLayerUsageRow, Region

# Tokens of a batch in training, by default: what a leaf sees of it says how fast it learns.
BATCH_TOKENS = 2048
# So many regions of a layer, and tokens of a region, are listed.
REGIONS = 3
TOKENS = 6
SMALLEST_SHARE = 0.01


def usage_table(rows: Iterable[Row]) -> str:
    """Return how the leaves of each layer are used, means over its trees; empty without rows."""
    layers = usage_layers(rows)
    if not layers:
        return ""
    header = ["layer", "leaves visited", "entropy, bits (of at most)", "effective leaves"]
    header += ["dead", "over-full (their share of the tokens, %)"]
    header += [f"median leaf, of a batch of {BATCH_TOKENS:,}"]
    header += ["leaf told by the token, %", "by the position, %"]
    return markdown_table(header, map(_usage_line, layers.values())) + "\n"


def usage_layers(rows: Iterable[Row]) -> dict[int, list[ConvertLayerUsageRow]]:
    """Return the rows of trees by layer of a model, each measurement once."""
    found = latest(of_kind(rows, ConvertLayerUsageRow), lambda row: (row.layer, row.tree))
    return group(found, lambda row: row.layer)


def _usage_line(trees: list[ConvertLayerUsageRow]) -> list[str]:
    def mean(field: str) -> float:
        return statistics.mean(getattr(row, field) for row in trees)

    first = trees[0]
    most_bits = (first.n_leaves - 1).bit_length()
    median = statistics.mean(
        BATCH_TOKENS * statistics.median(row.counts) / row.n_tokens for row in trees
    )
    return [
        f"{first.layer} ({first.ffn})",
        f"{mean('n_visited'):,.4g} of {first.n_leaves:,}",
        f"{mean('entropy_bits'):.2f} (of {most_bits})",
        number(mean("effective_leaves")),
        f"{mean('n_dead'):,.4g}",
        f"{mean('n_overfull'):,.4g} ({100 * mean('overfull_share'):.1f})",
        number(median),
        f"{100 * mean('token_purity'):.0f}",
        f"{100 * mean('position_purity'):.0f}",
    ]


class NamedRegion(NamedTuple):
    """A leaf of a layer, its share of the tokens, and those that are frequent in it."""

    name: str
    share: float
    tokens: list[tuple[str, float]]


def region_table(rows: Iterable[Row]) -> str:
    """Return the top tokens of the most used leaves of each layer; empty without rows."""
    layers = usage_layers(rows)
    if not layers:
        return ""
    header = ["region", "% of the tokens", "its most frequent tokens, % of the region"]
    body = [_region_line(region) for trees in layers.values() for region in top_regions(trees)]
    return markdown_table(header, body) + "\n"


def top_regions(trees: list[ConvertLayerUsageRow], most: int = REGIONS) -> list[NamedRegion]:
    """Return the most used leaves of a layer's trees.

    Tokens of nearly no share are left out.
    """
    found = sorted(
        ((row, region) for row in trees for region in row.regions), key=lambda pair: -pair[1].share
    )
    return [
        NamedRegion(
            f"layer {row.layer}, {_leaf_name(row, region, len(trees))}",
            region.share,
            [pair for pair in region.tokens if pair[1] >= SMALLEST_SHARE],
        )
        for row, region in found[:most]
    ]


def _leaf_name(row: ConvertLayerUsageRow, region: Region, n_trees: int) -> str:
    tree = f"tree {row.tree}, " if n_trees > 1 else ""
    return f"{tree}leaf {region.leaf}"


def _region_line(region: NamedRegion) -> list[str]:
    tokens = ", ".join(
        f"{text} {100 * share:.0f}".replace("|", "\\|") for text, share in region.tokens[:TOKENS]
    )
    return [region.name, f"{100 * region.share:.1f}", tokens]


def clusterability_table(rows: Iterable[Row]) -> str:
    """Return how well simple predictions explain each layer, in per cent; empty without rows."""
    if not (found := clusterability_rows(rows)):
        return ""
    titles = [column.title for column in columns_of(ClusterabilityRow).values()]
    header = ["FVU, %, by", *titles, "tree over dense"]
    header += ["largest output's share of the variance, %"]
    return markdown_table(header, map(_clusterability_line, found)) + "\n"


def clusterability_rows(rows: Iterable[Row]) -> list[ClusterabilityRow]:
    """Return the rows of clusterability of a model's layers, each measurement once."""
    return latest(of_kind(rows, ClusterabilityRow), lambda row: row.layer)


def _clusterability_line(row: ClusterabilityRow) -> list[str]:
    columns = columns_of(ClusterabilityRow).items()
    return [
        f"layer {row.layer} ({row.ffn})",
        *(f"{column.factor * getattr(row, name):.1f}" for name, column in columns),
        f"{row.fvu_local / row.fvu_dense:.2f}" if row.fvu_dense else "-",
        f"{100 * row.largest_output_share:.0f}",
    ]
