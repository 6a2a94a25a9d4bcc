"""Which layer norm reads what an FF block adds to its input, as in BERT: found by a run."""

import copy
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from ultrafastbert.models.converted.architectures import Block, block_modules, body_of, layers_of
from ultrafastbert.models.converted.hooks import run_body, tapped

# The sum that a norm reads may be rounded to bfloat16.
ROUNDING = 0.02


def norms_after(
    model: nn.Module, block: Block, numbers: Sequence[int], size: int, batch: Any
) -> dict[int, nn.LayerNorm | None]:
    """Return the norm that reads the sum of the block's input and output, in some layers.

    A run on a batch finds it; `size` is that of the vectors. None where there is none, as in models
    that have norms before blocks, or none of PyTorch's, as in the first DeBERTa.
    """
    layers = layers_of(model, block)
    inside = {number: _norms(layers[number], size) for number in numbers}
    outside = _norms(body_of(model), size) - _norms(layers, size)  # XLM has lists of norms
    reads: dict[nn.Module, list[Tensor]] = {norm: [] for norm in outside.union(*inside.values())}

    def keep(norm: nn.Module, args: tuple[Any, ...]) -> None:
        reads[norm].extend(each.flatten(0, -2).clone() for each in args[:1])

    hooks = [norm.register_forward_pre_hook(keep) for norm in reads]
    modules = {number: block_modules(model, block, number) for number in numbers}
    try:
        with tapped(modules, None, f"block {block}") as taps:
            run_body(model, batch)
    finally:
        for hook in hooks:
            hook.remove()
    found = dict[int, nn.LayerNorm | None].fromkeys(numbers)
    for number, tap in taps.items():
        x, y = tap.captured()
        for norm in inside[number] | outside:
            if reads[norm] and _is_close(torch.cat(reads[norm]), x + y):
                found[number] = copy.deepcopy(norm).float().cpu()
    return found


def _norms(module: nn.Module, size: int) -> set[nn.LayerNorm]:
    norms = (each for each in module.modules() if isinstance(each, nn.LayerNorm))
    return {norm for norm in norms if norm.normalized_shape == (size,)}


def _is_close(found: Tensor, expected: Tensor) -> bool:
    if found.shape != expected.shape:
        return False
    return bool((found - expected).norm() < ROUNDING * expected.norm())
