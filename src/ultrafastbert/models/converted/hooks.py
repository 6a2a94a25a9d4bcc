"""What FF layers read and write while a model runs, and whether they can be replaced."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from ultrafastbert.models.converted.architectures import (
    FeedForwardLocation,
    body_of,
    check_layers,
    feedforward_modules,
)
from ultrafastbert.models.precision import autocast_of


class Captured(NamedTuple):
    """Inputs and outputs of one FF layer: (tokens, H) each; bfloat16 where kept on disk."""

    x: Tensor
    y: Tensor


def run_hooked(
    model: nn.Module,
    location: FeedForwardLocation,
    layer_ids: Sequence[int],
    batch: Any,
    is_run_once: bool = False,
) -> dict[int, Captured]:
    """Run a model, without its head, on a batch; return what some FF layers read and wrote.

    Padding is left out, where the batch has an `attention_mask`. An FF layer that is run several
    times, as Transformer layers share it, gives the tokens of all runs. With `is_run_once` the
    model stops when each has been run.

    Raises:
        ValueError: where an FF layer is no function of one tensor to one of its shape, or the
            attention mask does not fit.
    """
    mask = batch.get("attention_mask") if isinstance(batch, Mapping) else None
    modules = {layer_id: feedforward_modules(model, location, layer_id) for layer_id in layer_ids}
    with (
        hooked(modules, mask, f"feedforward layer {location}", is_run_once) as hooks,
        suppress(_EnoughError),
    ):
        run_body(model, batch)
    return {layer_id: hook.captured() for layer_id, hook in hooks.items()}


def check_replaceable(
    model: nn.Module, location: FeedForwardLocation, layer_ids: Sequence[int], batch: Any
) -> int:
    """Return H, the size of the vectors that some FF layers read and write.

    Raises:
        ValueError: where a layer is not there or cannot be replaced, or layers differ in size, as
            a run on one batch shows.
    """
    if not layer_ids:
        raise ValueError("layers is empty; leave it out to convert all")
    check_layers(model, location, layer_ids)
    captured = run_hooked(model, location, layer_ids, batch)
    sizes = {layer_id: each.x.shape[1] for layer_id, each in captured.items()}
    found = sizes[layer_ids[0]]
    size = getattr(model.config, "hidden_size", None) if hasattr(model, "config") else found
    if set(sizes.values()) != {size}:
        read = ", ".join(f"{n} in layer {layer_id}" for layer_id, n in sizes.items())
        raise ValueError(
            f"the model has hidden_size={size}, but feedforward layer {location} reads vectors of "
            f"{read}; only layers of that size are replaced"
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
def hooked(
    modules: Mapping[int, Sequence[nn.Module]],
    mask: Tensor | None,
    what: str,
    is_run_once: bool = False,
) -> Iterator[dict[int, "FeedForwardHook"]]:
    """Hook the modules of FF layers, by layer id; tokens that a mask leaves out are not kept."""

    def stop(*_: Any) -> None:
        if all(hook.y for hook in hooks.values()):
            raise _EnoughError

    hooks = {layer_id: FeedForwardHook(f"{what} of layer {layer_id}", mask) for layer_id in modules}
    handles = []
    for layer_id, hook in hooks.items():
        first, last = modules[layer_id][0], modules[layer_id][-1]
        handles.append(first.register_forward_pre_hook(hook.keep_input, with_kwargs=True))
        handles.append(last.register_forward_hook(hook.keep_output))
        if is_run_once:
            handles.append(last.register_forward_hook(stop))
    try:
        yield hooks
    finally:
        for handle in handles:
            handle.remove()


class FeedForwardHook:
    """Copies what an FF layer reads and writes, as models may overwrite it."""

    def __init__(self, where: str, mask: Tensor | None):
        self.where, self.mask = where, mask
        self.x: list[Tensor] = []
        self.y: list[Tensor] = []

    def keep_input(self, module: nn.Module, args: tuple[Any, ...], options: Any) -> None:
        """Keep the one input of the first module."""
        self.x.append(self._tokens(args[0] if len(args) == 1 and not options else None))

    def keep_output(self, module: nn.Module, args: Any, output: Any) -> None:
        """Keep the output of the last module, which must have one input, too."""
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
            "experts and layers with the residual inside are not; name other modules"
        )
