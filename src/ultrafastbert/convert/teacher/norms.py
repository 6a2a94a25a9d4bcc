"""Which layer norm reads what an FF block adds to its input, as in BERT: found by a run."""

import copy
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from ultrafastbert.convert.teacher.taps import check_block, run_body, tapped
from ultrafastbert.models.architectures import Block, block_modules, layers_of

# The sum that a norm reads may be rounded to bfloat16.
ROUNDING = 0.02


def norms_after(
    model: nn.Module, block: Block, numbers: Sequence[int], batch: Any
) -> dict[int, nn.LayerNorm | None]:
    """Return the norm that reads the sum of the block's input and output, in some layers.

    A run on a batch finds it. None where there is none, as in models that have norms before blocks.
    """
    size = check_block(model, block, numbers, batch)
    layers, found = layers_of(model, block), dict[int, nn.LayerNorm | None].fromkeys(numbers)
    norms = {
        number: [m for m in layers[number].modules() if _normalizes(m, size)] for number in numbers
    }
    reads: dict[nn.Module, list[Tensor]] = {m: [] for same in norms.values() for m in same}

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
    for number, tap in taps.items():
        x, y = tap.captured()
        for norm in norms[number]:
            if reads[norm] and _is_close(torch.cat(reads[norm]), x + y):
                found[number] = copy.deepcopy(norm).float().cpu()
    return found


def _normalizes(module: nn.Module, size: int) -> bool:
    return isinstance(module, nn.LayerNorm) and module.normalized_shape == (size,)


def _is_close(found: Tensor, expected: Tensor) -> bool:
    if found.shape != expected.shape:
        return False
    return bool((found - expected).norm() < ROUNDING * expected.norm())
