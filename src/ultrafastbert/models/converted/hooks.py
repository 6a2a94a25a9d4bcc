"""What FF blocks read and write while a model runs, and whether they can be replaced."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from ultrafastbert.models.converted.architectures import Block, block_modules, body_of, check_layers
from ultrafastbert.models.precision import autocast_of


class Captured(NamedTuple):
    """Inputs and outputs of one FF block: (tokens, H) each; bfloat16 where kept on disk."""

    x: Tensor
    y: Tensor


def run_tapped(
    model: nn.Module,
    block: Block,
    numbers: Sequence[int],
    batch: Any,
    is_run_once: bool = False,
) -> dict[int, Captured]:
    """Run a model, without its head, on a batch; return what the blocks of some layers did.

    Padding is left out, where the batch has an `attention_mask`. A block that is run several times,
    as layers share it, gives the tokens of all runs. With `is_run_once` the model stops when each
    has been run.

    Raises:
        ValueError: where a block is no function of one tensor to one of its shape, or the attention
            mask does not fit.
    """
    mask = batch.get("attention_mask") if isinstance(batch, Mapping) else None
    modules = {number: block_modules(model, block, number) for number in numbers}
    with tapped(modules, mask, f"block {block}", is_run_once) as taps, suppress(_EnoughError):
        run_body(model, batch)
    return {number: tap.captured() for number, tap in taps.items()}


def check_block(model: nn.Module, block: Block, numbers: Sequence[int], batch: Any) -> int:
    """Return H, the size of the vectors that the blocks of some layers read and write.

    Raises:
        ValueError: where a layer is not there, its block cannot be replaced, or blocks differ in
            size, as a run on one batch shows.
    """
    if not numbers:
        raise ValueError("layers is empty; leave it out to convert all")
    check_layers(model, block, numbers)
    captured = run_tapped(model, block, numbers, batch)
    sizes = {number: each.x.shape[1] for number, each in captured.items()}
    found = sizes[numbers[0]]
    size = getattr(model.config, "hidden_size", None) if hasattr(model, "config") else found
    if set(sizes.values()) != {size}:
        read = ", ".join(f"{n} in layer {number}" for number, n in sizes.items())
        raise ValueError(
            f"the model has hidden_size={size}, but block {block} reads vectors of {read}; only "
            "blocks of that size are replaced"
        )
    return found


def run_body(model: nn.Module, batch: Any) -> None:
    """Run a model without its head."""
    body = body_of(model)
    with torch.no_grad(), autocast_of(model):
        if isinstance(batch, Mapping):
            body(**batch)
        else:
            body(batch)


class _EnoughError(Exception):
    """Stops a model when all that is wanted of it was seen."""


@contextmanager
def tapped(
    blocks: Mapping[int, Sequence[nn.Module]],
    mask: Tensor | None,
    what: str,
    is_run_once: bool = False,
) -> Iterator[dict[int, "Tap"]]:
    """Follow the modules of blocks, by number of the layer, without what a mask leaves out."""

    def stop(*_: Any) -> None:
        if all(tap.y for tap in taps.values()):
            raise _EnoughError

    taps = {number: Tap(f"{what} of layer {number}", mask) for number in blocks}
    hooks = []
    for number, tap in taps.items():
        modules = blocks[number]
        hooks.append(modules[0].register_forward_pre_hook(tap.keep_input, with_kwargs=True))
        hooks.append(modules[-1].register_forward_hook(tap.keep_output))
        if is_run_once:
            hooks.append(modules[-1].register_forward_hook(stop))
    try:
        yield taps
    finally:
        for hook in hooks:
            hook.remove()


class Tap:
    """Copies what a block reads and writes, as models may overwrite it."""

    def __init__(self, where: str, mask: Tensor | None):
        self.where, self.mask = where, mask
        self.x: list[Tensor] = []
        self.y: list[Tensor] = []

    def keep_input(self, module: nn.Module, args: tuple[Any, ...], options: Any) -> None:
        """Keep the one input of a block's first module."""
        self.x.append(self._tokens(args[0] if len(args) == 1 and not options else None))

    def keep_output(self, module: nn.Module, args: Any, output: Any) -> None:
        """Keep the output of a block's last module, which may have one input, too."""
        self.y.append(self._tokens(output if len(args) == 1 else None))

    def captured(self) -> Captured:
        """Return the tokens of all runs."""
        if not self.x or not self.y:
            raise ValueError(f"{self.where} is not run as a whole; name other modules")
        captured = Captured(torch.cat(self.x), torch.cat(self.y))
        if captured.x.shape != captured.y.shape:
            raise self._no_function()
        return captured

    def _tokens(self, values: Any) -> Tensor:
        """Return those of (..., H) that are no padding: (T, H)."""
        if not isinstance(values, Tensor):
            raise self._no_function()
        if self.mask is None:
            return values.flatten(0, -2).clone()
        mask = self.mask
        if values.dim() == 2:  # the model joins texts, as OPT does
            mask = mask.flatten()
        elif values.shape[1] > mask.shape[1]:  # it pads them further, as Longformer does
            mask = nn.functional.pad(mask, (0, values.shape[1] - mask.shape[1]))
        if values.shape[:-1] != mask.shape:
            raise ValueError(
                f"{self.where} reads or writes {tuple(values.shape)}, which does not fit "
                f"attention_mask of {tuple(self.mask.shape)}"
            )
        return values[mask.bool()]

    def _no_function(self) -> ValueError:
        return ValueError(
            f"{self.where} is no function of one tensor to one of its shape, as some mixtures of "
            "experts and blocks with the residual inside are not; name other modules"
        )
