"""Distilling FF layers one by one, each from what the original's layer read and wrote."""

import itertools
from pathlib import Path

from safetensors.torch import save_file

from ultrafastbert.distill.conversion import ALONE, Conversion
from ultrafastbert.distill.layerwise import Fit, RegressionConfig, layer_row, regress
from ultrafastbert.distill.run import DistillationRun
from ultrafastbert.distill.teacher.capture import Parts
from ultrafastbert.models.converted.feedforward import ConvertedFeedForward
from ultrafastbert.rows.conversion import ConvertLayerRow
from ultrafastbert.runs.status import counting

Case = tuple[int, int, str]  # seed, layer id, name of a candidate


def cases_left(conversion: Conversion) -> list[Case]:
    """Return the layers that are not trained yet, in the order of training."""
    found = conversion.run.rows(ConvertLayerRow)
    done = {(row.seed, row.layer, row.model) for row in found}
    seeds, layer_ids = conversion.config.seeds, conversion.run.layer_ids
    return [
        (seed, layer_id, name)
        for seed, layer_id in itertools.product(seeds, layer_ids)
        for name in conversion.candidates[seed]
        if (seed, layer_id, name) not in done
    ]


def distill_layer(conversion: Conversion, case: Case, parts: Parts) -> None:
    """Train one layer of a candidate, with a `ConvertLayerRow`."""
    (seed, layer_id, name), run = case, conversion.run
    ffn, training, _ = conversion.candidates[seed][name]
    row = learn(
        run,
        ConvertLayerRow,
        ConvertedFeedForward(run.hidden_size, ffn),
        name,
        layer_id,
        parts,
        training,
        f"layer {layer_id}: {ffn} ({name}, seed {seed})",
        conversion.weights(seed, layer_id, name, ALONE),
    )
    conversion.append(row)


def learn(
    run: DistillationRun,
    kind: type[Fit],
    feedforward: ConvertedFeedForward,
    name: str,
    layer_id: int,
    parts: Parts,
    training: RegressionConfig,
    what: str,
    weights: Path,
    is_new: bool = True,
) -> Fit:
    """Train an FF layer, in place, and save it; return its row. `what` says so to who waits."""
    on_step, norm = counting(run.on_status, what, training.steps, "steps"), run.norms[layer_id]
    regress(feedforward, parts.train, training, on_step, norm, is_new)
    save_file(feedforward.state_dict(), weights)
    return layer_row(kind, name, layer_id, feedforward, training, parts.validation, norm)
