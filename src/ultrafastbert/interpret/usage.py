"""How the leaves of trees are used: how many, how evenly, and by which tokens.

A tree pays twice for more leaves (arXiv 2308.14711): each sees fewer tokens of a batch (the problem
of shrinking batches), and what is alike is cut into regions that have to learn the same
(over-fragmentation). Dead leaves, which no token reaches, are paid for and useless; over-full ones
do with their few neurons what others do with many.
"""

from collections.abc import Iterable
from typing import Any

from sklearn.metrics import adjusted_mutual_info_score
from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from ultrafastbert.data.sampling import Text
from ultrafastbert.fff import soft, tree
from ultrafastbert.interpret.visits import Visits, trees_of, visits
from ultrafastbert.rows.usage import ConvertLayerUsageRow, Region
from ultrafastbert.runs.status import Count, count_nothing

# A leaf is over-full with more than this many times the tokens of an even spread, 1 / 2^D.
OVERFULL = 4.0
# What rows say of the most used leaves: of so many, the most frequent tokens.
REGIONS = 8
REGION_TOKENS = 8
# Tokens that mutual information is measured on: its expectation by chance takes time.
PURITY_TOKENS = 20_000


def usage_rows(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    texts: Iterable[Text],
    n_tokens: int,
    max_length: int = 128,
    on_tokens: Count = count_nothing,
) -> list[ConvertLayerUsageRow]:
    """Return a row for each layer and tree; none without trees.

    A row holds the number of tokens of each leaf (`counts`), what `leaf_usage` makes of it, how
    far a token and its position tell the leaf (`purity`), and the top tokens of the most used
    leaves. Raises ValueError if the texts have fewer tokens.
    """
    if not (layers := trees_of(model)):
        return []
    seen = visits(model, tokenizer, texts, n_tokens, max_length, on_tokens)
    rows = []
    for layer_id, layer in layers.items():
        family = tree.Family(layer.n_trees, layer.depth, layer.leaf_size)
        counts = soft.count_leaves(seen.leaves[layer_id], layer.depth).long()
        for k in range(layer.n_trees):
            measured = _measure(seen, seen.leaves[layer_id][:, k], counts[k], tokenizer)
            row = ConvertLayerUsageRow(
                layer=layer_id, tree=k, ffn=str(family), n_tokens=n_tokens, **measured
            )
            rows.append(row)
    return rows


def _measure(
    seen: Visits, leaf: Tensor, counts: Tensor, tokenizer: PreTrainedTokenizerBase
) -> dict[str, Any]:
    return {
        **leaf_usage(counts),
        "token_purity": purity(leaf, seen.ids),
        "position_purity": purity(leaf, seen.positions),
        "regions": top_regions(leaf, seen.ids, counts, tokenizer),
        "counts": tuple(counts.tolist()),
    }


def leaf_usage(counts: Tensor) -> dict[str, float]:
    """Return how evenly tokens spread over leaves, from the number of tokens of each, (leaves).

    `entropy_bits` is H of the leaf that a token reaches, `effective_leaves` 2^H: so many leaves,
    evenly used, have that entropy. `n_dead` leaves were never reached; `n_overfull` got more than
    `OVERFULL` times an even share, `overfull_share` of the tokens together.
    """
    share = counts.double() / counts.sum()
    used = share[share > 0]
    entropy = -(used * used.log2()).sum().item()
    overfull = share > OVERFULL / len(counts)
    return {
        "n_leaves": len(counts),
        "n_visited": len(used),
        "n_dead": len(counts) - len(used),
        "n_overfull": int(overfull.sum()),
        "overfull_share": share[overfull].sum().item(),
        "entropy_bits": entropy,
        "effective_leaves": 2**entropy,
    }


def purity(leaf: Tensor, label: Tensor) -> float:
    """Return how far labels tell the leaf: 0 as by chance, 1 where one decides the other.

    Adjusted mutual information (Vinh, Epps and Bailey, JMLR 2010), relative to the smaller entropy.
    Shapes: (T) int64 both.
    """
    part = slice(PURITY_TOKENS)
    leaves, labels = leaf[part].numpy(), label[part].numpy()
    return float(adjusted_mutual_info_score(leaves, labels, average_method="min"))


def top_regions(
    leaf: Tensor, ids: Tensor, counts: Tensor, tokenizer: PreTrainedTokenizerBase
) -> tuple[Region, ...]:
    """Return the most used leaves with their shares of the tokens, and their top tokens.

    Tokens come as text with their shares of the leaf. Shapes: leaf, ids (T), counts (leaves).
    """
    regions = []
    for leaf_id in counts.argsort(descending=True, stable=True)[:REGIONS].tolist():
        if not (n_here := int(counts[leaf_id])):
            break
        found, n_each = ids[leaf == leaf_id].unique(return_counts=True)
        order = n_each.argsort(descending=True, stable=True)[:REGION_TOKENS]
        tokens = tuple(
            (str(tokenizer.decode([token])).strip(), n / n_here)
            for token, n in zip(found[order].tolist(), n_each[order].tolist(), strict=True)
        )
        regions.append(Region(leaf_id, n_here / len(leaf), tokens))
    return tuple(regions)
