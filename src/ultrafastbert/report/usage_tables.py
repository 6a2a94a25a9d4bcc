"""Rows of diagnosed models -> tables: leaf usage, top tokens of regions, clusterability."""

import statistics
from collections.abc import Iterable

from ultrafastbert.report.runs import by_run
from ultrafastbert.report.tables import group, latest, markdown_table, number
from ultrafastbert.rows import Row

# Tokens of a batch in training, by default: what a leaf sees of it says how fast it learns.
BATCH_TOKENS = 2048
# So many regions of a layer, and tokens of a region, are listed.
REGIONS = 3
TOKENS = 6
SMALLEST_SHARE = 0.01


def usage_table(rows: Iterable[Row]) -> str:
    """Return how the leaves of each layer are used, means over its trees; empty without rows."""
    return by_run([row for row in rows if row["kind"] == "convert_layer_usage"], _usage_table)


def _usage_table(rows: list[Row]) -> str:
    layers = usage_layers(rows)
    if not layers:
        return ""
    header = ["layer", "leaves visited", "entropy, bits (of at most)", "effective leaves"]
    header += ["dead", "over-full (their share of the tokens, %)"]
    header += [f"median leaf, of a batch of {BATCH_TOKENS:,}"]
    header += ["leaf told by the token, %", "by the position, %"]
    return markdown_table(header, map(_usage_line, layers.values())) + "\n"


def usage_layers(rows: Iterable[Row]) -> dict[int, list[Row]]:
    """Return the rows of trees by layer of a model, each measurement once."""
    found = [row for row in rows if row["kind"] == "convert_layer_usage"]
    return {n: same for (n,), same in group(latest(found, "layer", "tree"), "layer").items()}


def _usage_line(trees: list[Row]) -> list[str]:
    def mean(field: str) -> float:
        return statistics.mean(row[field] for row in trees)

    first = trees[0]
    most_bits = (first["n_leaves"] - 1).bit_length()
    median = statistics.mean(
        BATCH_TOKENS * statistics.median(row["counts"]) / row["n_tokens"] for row in trees
    )
    return [
        f"{first['layer']} ({first['ffn']})",
        f"{mean('n_visited'):,.4g} of {first['n_leaves']:,}",
        f"{mean('entropy_bits'):.2f} (of {most_bits})",
        number(mean("effective_leaves")),
        f"{mean('n_dead'):,.4g}",
        f"{mean('n_overfull'):,.4g} ({100 * mean('overfull_share'):.1f})",
        number(median),
        f"{100 * mean('token_purity'):.0f}",
        f"{100 * mean('position_purity'):.0f}",
    ]


def region_table(rows: Iterable[Row]) -> str:
    """Return the top tokens of the most used leaves of each layer; empty without rows."""
    layers = usage_layers(rows)
    if not layers:
        return ""
    header = ["region", "% of the tokens", "its most frequent tokens, % of the region"]
    body = [_region_line(region) for trees in layers.values() for region in top_regions(trees)]
    return markdown_table(header, body) + "\n"


def top_regions(trees: list[Row], most: int = REGIONS) -> list[Row]:
    """Return the most used leaves of a layer's trees, each with its `name`.

    Tokens of nearly no share are left out.
    """
    found = sorted(
        ((row, region) for row in trees for region in row["regions"]),
        key=lambda pair: -pair[1]["share"],
    )
    return [
        {
            "name": f"layer {row['layer']}, {_leaf_name(row, region, len(trees))}",
            "share": region["share"],
            "tokens": [pair for pair in region["tokens"] if pair[1] >= SMALLEST_SHARE],
        }
        for row, region in found[:most]
    ]


def _leaf_name(row: Row, region: Row, n_trees: int) -> str:
    tree = f"tree {row['tree']}, " if n_trees > 1 else ""
    return f"{tree}leaf {region['leaf']}"


def _region_line(region: Row) -> list[str]:
    tokens = ", ".join(
        f"{text} {100 * share:.0f}".replace("|", "\\|") for text, share in region["tokens"][:TOKENS]
    )
    return [region["name"], f"{100 * region['share']:.1f}", tokens]


def clusterability_table(rows: Iterable[Row]) -> str:
    """Return what regions explain of each layer's outputs, in percent; empty without rows."""
    if not (found := clusterability_rows(rows)):
        return ""
    header = ["variance left unexplained, %, by", *PREDICTIONS.values(), "tree over dense"]
    header += ["largest output's share of the variance, %"]
    return markdown_table(header, map(_clusterability_line, found)) + "\n"


def clusterability_rows(rows: Iterable[Row]) -> list[Row]:
    """Return the rows of clusterability of a model's layers, each measurement once."""
    return latest([row for row in rows if row["kind"] == "clusterability"], "layer")


PREDICTIONS = {
    "region_unexplained": "regions alone",
    "linear_unexplained": "one linear map",
    "local_unexplained": "a linear map in each region (as a tree)",
    "dense_unexplained": "dense, as wide as the path, briefly trained",
}


def _clusterability_line(row: Row) -> list[str]:
    dense = row["dense_unexplained"]
    return [
        f"layer {row['layer']} ({row['ffn']})",
        *(f"{100 * row[field]:.1f}" for field in PREDICTIONS),
        f"{row['local_unexplained'] / dense:.2f}" if dense else "-",
        f"{100 * row['largest_output_share']:.0f}",
    ]
