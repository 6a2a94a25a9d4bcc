"""Which layer norm reads what an FF layer adds to its input, as in BERT: found by a run."""

import copy
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from ultrafastbert.models.converted.architectures import (
    FeedForwardLocation,
    body_of,
    feedforward_modules,
    layers_of,
)
from ultrafastbert.models.converted.hooks import hooked, run_body

# The sum that a norm reads may be rounded to bfloat16.
ROUNDING = 0.02


def norms_after(
    model: nn.Module, location: FeedForwardLocation, layer_ids: Sequence[int], size: int, batch: Any
) -> dict[int, nn.LayerNorm | None]:
    """Return the norm that reads the sum of an FF layer's input and output, by layer id.

    A run on a batch finds it; `size` is that of the vectors. None where there is none, as in models
    that have norms before FF layers, or none of PyTorch's, as in the first DeBERTa.
    """
    layers = layers_of(model, location)
    inside = {layer_id: _norms(layers[layer_id], size) for layer_id in layer_ids}
    outside = _norms(body_of(model), size) - _norms(layers, size)  # XLM has lists of norms
    reads: dict[nn.Module, list[Tensor]] = {norm: [] for norm in outside.union(*inside.values())}

    def keep(norm: nn.Module, args: tuple[Any, ...]) -> None:
        reads[norm].extend(each.flatten(0, -2).clone() for each in args[:1])

    handles = [norm.register_forward_pre_hook(keep) for norm in reads]
    modules = {layer_id: feedforward_modules(model, location, layer_id) for layer_id in layer_ids}
    try:
        with hooked(modules, None, f"feedforward layer {location}") as hooks:
            run_body(model, batch)
    finally:
        for handle in handles:
            handle.remove()
    found = dict[int, nn.LayerNorm | None].fromkeys(layer_ids)
    for layer_id, hook in hooks.items():
        x, y = hook.captured()
        for norm in inside[layer_id] | outside:
            if reads[norm] and _is_close(torch.cat(reads[norm]), x + y):
                found[layer_id] = copy.deepcopy(norm).float().cpu()
    return found


def _norms(module: nn.Module, size: int) -> set[nn.LayerNorm]:
    norms = (each for each in module.modules() if isinstance(each, nn.LayerNorm))
    return {norm for norm in norms if norm.normalized_shape == (size,)}


def _is_close(found: Tensor, expected: Tensor) -> bool:
    if found.shape != expected.shape:
        return False
    return bool((found - expected).norm() < ROUNDING * expected.norm())
