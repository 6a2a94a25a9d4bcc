"""Rows of diagnosed models: how leaves are used, how well a tree would fit."""

from dataclasses import dataclass
from typing import Annotated, ClassVar

from ultrafastbert.rows.row import Column, Row


@dataclass(frozen=True)
class Region:
    """A leaf and its most frequent tokens.

    Attributes:
        leaf: its number.
        share: of all tokens that reach it, 0 to 1.
        tokens: as text, with their shares of the leaf.
    """

    leaf: int
    share: float
    tokens: tuple[tuple[str, float], ...]


@dataclass(frozen=True, kw_only=True)
class ConvertLayerUsageRow(Row):
    """How the leaves of one tree of one layer are used.

    Attributes:
        model, seed: of which model; the seed only within a conversion.
        layer, tree: their numbers, from 0.
        ffn: KxDxL of the layer.
        n_tokens: that were followed.
        n_leaves, n_visited, n_dead: all leaves, those that a token reached, and the others.
        n_overfull, overfull_share: leaves with several times an even share, and their share of the
            tokens, 0 to 1.
        entropy_bits, effective_leaves: of the leaf that a token reaches, H and 2^H.
        token_purity, position_purity: how far the token, or its position, tells the leaf: 0 as by
            chance, 1 for sure.
        regions: the most used leaves.
        counts: tokens of each leaf.
    """

    kind: ClassVar[str] = "convert_layer_usage"

    model: str | None = None
    seed: int | None = None
    layer: int
    tree: int
    ffn: str
    n_tokens: int
    n_leaves: int
    n_visited: int
    n_dead: int
    n_overfull: int
    overfull_share: float
    entropy_bits: float
    effective_leaves: float
    token_purity: float
    position_purity: float
    regions: tuple[Region, ...]
    counts: tuple[int, ...]


@dataclass(frozen=True, kw_only=True)
class ClusterabilityRow(Row):
    """How well simple predictions explain a dense layer's outputs, on held-out tokens.

    Attributes:
        model: whose layer.
        layer: its number, from 0.
        ffn: KxDxL that would replace it.
        n_tokens: that predictions were fitted to.
        seed: of everything drawn.
        fvu_region, fvu_linear, fvu_local, fvu_dense: fraction of variance unexplained.
        largest_output_share: of a single output in the variance, 0 to 1.
    """

    kind: ClassVar[str] = "clusterability"

    model: str | None = None
    layer: int
    ffn: str
    n_tokens: int
    seed: int
    fvu_region: Annotated[float, Column("regions alone", 100.0)]
    fvu_linear: Annotated[float, Column("one linear map", 100.0)]
    fvu_local: Annotated[float, Column("a linear map in each region (as a tree)", 100.0)]
    fvu_dense: Annotated[float, Column("dense, as wide as the path, briefly trained", 100.0)]
    largest_output_share: float
