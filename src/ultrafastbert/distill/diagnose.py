"""Diagnosing a saved model: leaf usage of a fast one, clusterability of a dense one."""

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from transformers import AutoConfig

from ultrafastbert.data.sampling import pieces, sample, texts_of
from ultrafastbert.data.text import Source, named_sources, read_documents
from ultrafastbert.distill.clusterability import check_tokens, clusterability
from ultrafastbert.distill.config import ConvertConfig
from ultrafastbert.distill.teacher.capture import capture
from ultrafastbert.fff.tree import parse_family
from ultrafastbert.interpret.usage import usage_rows
from ultrafastbert.models.bert.configuration import UltraFastBertConfig
from ultrafastbert.models.converted.folder import Dense, check_reads, load_tokenizer, open_dense
from ultrafastbert.models.converted.hooks import Captured
from ultrafastbert.models.converted.model import PREFIX
from ultrafastbert.models.io.saved import load_as_saved
from ultrafastbert.rows import append_rows
from ultrafastbert.rows.usage import ClusterabilityRow, ConvertLayerUsageRow
from ultrafastbert.runs.outputs import check_file
from ultrafastbert.runs.status import Show, counting, show_nothing

# Tokens to fit on, over those that are held out, from documents of their own.
HELD_OUT_SHARE = 5


@dataclass(frozen=True)
class DiagnoseConfig:
    """What is diagnosed, and on how much text.

    Attributes:
        ffn: for a dense model, the layer that would replace its FF layers, KxD or KxDxL; by default
            that of `convert`. Fast models have their own.
        tokens: of the text that are read; for a dense model a fifth of it more is held out.
        max_length: tokens of a text, or a pair, that are read.
        seed: of everything drawn.

    Raises:
        ValueError: for values that do not fit; the message names them.
    """

    ffn: str | None = None
    tokens: int = 50_000
    max_length: int = 128
    seed: int = 0

    def __post_init__(self) -> None:
        if self.ffn is not None and not parse_family(self.ffn).depth:
            raise ValueError(f"ffn={self.ffn!r} has no tree; choose a depth of 1 or more")
        for name in ("tokens", "max_length"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name}={getattr(self, name)} must be at least 1")


def diagnose(
    model_dir: str | Path,
    text: Source,
    config: DiagnoseConfig | None = None,
    rows_path: str | Path | None = None,
    on_status: Show = show_nothing,
) -> list[ConvertLayerUsageRow | ClusterabilityRow]:
    """Return how a fast model uses its leaves on a text, or how well a tree would fit a dense one.

    A `ConvertLayerUsageRow` for each layer and tree of a converted or UltraFastBERT model, see
    `usage.usage_rows`; for other models a `ClusterabilityRow` for each layer, see
    `clusterability.clusterability`. Rows are appended to `rows_path`, if given. A dense
    model's inputs and outputs are kept in the system's folder for temporary files meanwhile.

    Raises:
        FileNotFoundError, OSError: for a model or text that is not there.
        ValueError: for too little text or disk, an unknown architecture, a model without trees, or
            a layer named for a model that has its own.
    """
    config, folder = config or DiagnoseConfig(), Path(model_dir)
    if rows_path is not None:
        check_file(rows_path)
    on_status("loading the model", 0, None)
    text = named_sources(text, "text")
    saved: Any = AutoConfig.from_pretrained(folder)
    is_fast = saved.model_type.startswith(PREFIX) or isinstance(saved, UltraFastBertConfig)
    diagnosis = _usage if is_fast else _clusterability
    measured: Sequence[ConvertLayerUsageRow | ClusterabilityRow]
    measured = diagnosis(folder, text, config, on_status)
    found = [replace(row, model=folder.absolute().name) for row in measured]
    return found if rows_path is None else append_rows(rows_path, found)


def _usage(
    folder: Path, text: Source, config: DiagnoseConfig, on_status: Show
) -> list[ConvertLayerUsageRow]:
    if config.ffn is not None:
        raise ValueError(f"ffn={config.ffn!r} is for dense models; {folder} has its own layers")
    model = load_as_saved(folder).eval()
    check_reads(model, config.max_length)
    on_status("reading text", 0, None)
    found = usage_rows(
        model,
        load_tokenizer(folder),
        sample(pieces(line for document in read_documents(text) for line in document.splitlines())),
        config.tokens,
        config.max_length,
        counting(on_status, "following tokens", config.tokens, "tokens"),
    )
    if not found:
        raise ValueError(f"{folder} has no fast feedforward layers with trees to diagnose")
    return found


def _clusterability(
    folder: Path, text: Source, config: DiagnoseConfig, on_status: Show
) -> list[ClusterabilityRow]:
    family = parse_family(config.ffn or ConvertConfig.ffn)
    check_tokens(config.tokens, family)
    dense = open_dense(folder, config.max_length)
    found = []
    on_status("reading text", 0, None)
    with tempfile.TemporaryDirectory() as scratch:
        train, held_out = _captured(dense, text, config, Path(scratch), on_status)
        for layer_id in dense.layer_ids:
            on_status(f"layer {layer_id}: what regions explain", layer_id, len(dense.layer_ids))
            measured: dict[str, Any] = clusterability(
                train[layer_id], held_out[layer_id], family, config.seed
            )
            row = ClusterabilityRow(
                layer=layer_id,
                ffn=str(family),
                n_tokens=config.tokens,
                seed=config.seed,
                **measured,
            )
            found.append(row)
    return found


def _captured(
    dense: Dense, text: Source, config: DiagnoseConfig, scratch: Path, on_status: Show
) -> list[dict[int, Captured]]:
    """Return what FF layers read and wrote, by layer id: to fit on, and held out."""
    sizes = {"fitted": config.tokens, "held out": config.tokens // HELD_OUT_SHARE}
    return [
        capture(
            dense.model,
            dense.tokenizer,
            texts_of(text, validation=part == "held out"),
            n_tokens,
            dense.layer_ids,
            scratch / part,
            config.max_length,
            on_status,
            dense.location,
        )
        for part, n_tokens in sizes.items()
    ]
