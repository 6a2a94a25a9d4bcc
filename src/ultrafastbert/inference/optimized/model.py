"""Models with the fastest linear layers of this machine, for inference in PyTorch on CPUs."""

import copy
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import nn
from transformers import PreTrainedConfig
from transformers.pytorch_utils import Conv1D

from ultrafastbert.fff.layer import FastFeedForward
from ultrafastbert.inference.optimized.choice import ALLOWED, Choice, fastest_linear
from ultrafastbert.inference.optimized.difference import Difference, checked, compare
from ultrafastbert.inference.optimized.linear import OptimizedLinear
from ultrafastbert.models.io.saved import load_as_saved
from ultrafastbert.models.quantized import Quantizable

Model = TypeVar("Model", bound=nn.Module)

# What trees' weights become.
WEIGHT_DTYPE = {"fp32": None, "bf16": "bfloat16", "int8": "int8"}
# They read the weights of their linear layers themselves.
LEFT_OUT = (nn.MultiheadAttention, nn.TransformerEncoderLayer)


@dataclass(frozen=True)
class Optimization:
    """What `optimize` did to a model: its attribute `optimization`; `print` it.

    Attributes:
        precision: fp32, bf16 or int8, as asked for.
        choices: how linear layers are computed, by shape, with the number of layers.
        n_trees: fast feedforward layers, whose weights have that precision.
        difference: of the outputs on texts, where texts were given.
    """

    precision: str
    choices: dict[Choice, int]
    n_trees: int
    difference: Difference | None = None

    def __str__(self) -> str:
        n_linears = sum(self.choices.values())
        lines = [
            f"{self.precision}: {n_linears} linear layers, {self.n_trees} fast feedforward layers"
        ]
        lines += [f"{n} x {choice}" for choice, n in self.choices.items()]
        if self.difference:
            lines.append(str(self.difference))
        return "\n".join(lines)


def optimize(
    model: Model,
    precision: str = "fp32",
    texts: Iterable[str] | None = None,
    tokenizer: Any = None,
) -> Model:
    """Return a copy of a model for inference, with the fastest linear layers of this machine.

    Every `nn.Linear` is computed in the fastest way that PyTorch has for its shape and the present
    number of threads (`fastest_linear`), and the weights of fast feedforward layers become as
    narrow as `precision` allows. The rest stays in float32. The model itself stays as it is and
    trains on; the copy shares no memory with it, has the same inputs and outputs, and an attribute
    `optimization`, which says what was chosen.

    Its state dict is that of the model, so `save_pretrained` and safetensors save it, with weights
    rounded as they were computed; see `load_optimized`. An optimized model is returned as it is.

    Args:
        model: any module in float32, on the CPU, in evaluation mode: a model of transformers or of
            this package, a SentenceTransformer.
        precision: of products and trees at least: `fp32`, `bf16` or `int8`. A more precise way is
            taken where it is as fast. In int8, the other texts of a batch change results a little.
        texts: texts, such as some hundred of yours, on which outputs before and after are compared.
        tokenizer: turns the texts into inputs; a SentenceTransformer has its own.

    Raises:
        ValueError: for an unknown precision, a model that is in training mode, not on the CPU, not
            in float32, quantized already or optimized otherwise, or has nothing to optimize; for
            `texts` that are no texts, or without a tokenizer.
    """
    if precision not in ALLOWED:
        raise ValueError(f"precision={precision!r} is unknown; choose one of {', '.join(ALLOWED)}")
    if (done := optimization_of(model)) is not None:
        if done.precision != precision:
            raise ValueError(
                f"precision={precision!r}: the model is optimized already, for {done.precision}; "
                "optimize the original"
            )
        return model
    _check(model, precision)
    read = None if texts is None else checked(model, texts, tokenizer)
    fast = copy.deepcopy(model).eval().requires_grad_(False)
    _quantize_trees(fast, precision)
    with torch.no_grad():
        choices = _replace_linears(fast, precision)
    n_trees = sum(isinstance(module, FastFeedForward) for module in fast.modules())
    if not choices and not n_trees:
        raise ValueError(f"{type(model).__name__} has no linear or fast feedforward layers")
    for config in _configs(fast):
        config.inference_precision = precision
    difference = None if read is None else compare(model, fast, read, tokenizer)
    fast.optimization = Optimization(precision, choices, n_trees, difference)  # type: ignore[assignment]
    return fast


def load_optimized(folder: str | Path, precision: str | None = None, **options: Any) -> Any:
    """Load a saved model as the class that it was saved as, and optimize it for this machine.

    `precision` is by default that of the optimized model that was saved; `texts`, `tokenizer` are
    as in `optimize`, the other options those of `from_pretrained`. Only safetensors are read. A
    SentenceTransformer is loaded and optimized again by `ultrafastbert.sentence_transformer`.

    Raises OSError where the folder has no model in safetensors, ValueError as `optimize` does, and
    for a model that was not optimized when it was saved, without `precision`.
    """
    if not Path(folder).is_dir():
        raise FileNotFoundError(f"{folder} is no folder: name one that a model was saved to")
    given = {name: options.pop(name, None) for name in ("texts", "tokenizer")}
    model = load_as_saved(folder, **options).eval()
    precision = precision or saved_precision(model)
    if precision is None:
        raise ValueError(f"{folder} was saved without being optimized: give precision=")
    return optimize(model, precision, **given)


def optimize_as_saved(model: Model) -> Model:
    """Return a loaded model as it was when it was saved: optimized again, if it is on the CPU."""
    precision = saved_precision(model)
    on_cpu = all(parameter.device.type == "cpu" for parameter in model.parameters())
    return optimize(model.eval(), precision) if precision and on_cpu else model


def saved_precision(model: nn.Module) -> str | None:
    """Return the precision for which a model was optimized when it was saved, None if it was not.

    Raises ValueError for one that is unknown.
    """
    found = (getattr(config, "inference_precision", None) for config in _configs(model))
    precision = next(filter(None, found), None)
    if precision is not None and precision not in ALLOWED:
        raise ValueError(
            f"inference_precision={precision!r} in config.json is unknown; write one of "
            f"{', '.join(ALLOWED)}, or remove it"
        )
    return precision


def optimization_of(model: nn.Module) -> Optimization | None:
    """Return what `optimize` did to a model, None if it did nothing."""
    found = getattr(model, "optimization", None)
    return found if isinstance(found, Optimization) else None


def _configs(model: nn.Module) -> Iterator[Any]:
    """Yield the configurations of the models of transformers in a module, each once."""
    configs = (getattr(module, "config", None) for module in model.modules())
    found = {id(config): config for config in configs if isinstance(config, PreTrainedConfig)}
    yield from found.values()


def _check(model: nn.Module, precision: str) -> None:
    """Raise ValueError for a model that `optimize` does not take."""
    for tensor in (*model.parameters(), *model.buffers()):
        if tensor.device.type != "cpu":
            raise ValueError(
                f"the model is on {tensor.device}: optimize computes on the CPU; call "
                "model.to('cpu') first"
            )
    for name, module in model.named_modules():
        if module.training and _trains(module):
            raise ValueError(
                f"the model is in training mode ({name or type(module).__name__}): call "
                "model.eval() first"
            )
        if isinstance(module, OptimizedLinear):
            raise ValueError(f"a part of the model is optimized already ({name}); optimize once")
        if type(module).__module__.startswith("torch.ao.nn."):
            raise ValueError(f"{name} is quantized already by torch.ao; optimize the original")
        if isinstance(module, FastFeedForward) and module.weight_dtype:
            _check_trees(module.weight_dtype, precision)
    _check_values(model)


def _check_values(model: nn.Module) -> None:
    for name, parameter in model.named_parameters():
        if parameter.dtype != torch.float32:
            raise ValueError(
                f"{name} is {parameter.dtype}: optimize takes models in float32; load it with "
                "dtype=torch.float32"
            )
        if not parameter.isfinite().all():
            raise ValueError(f"{name} holds values that are not finite; repair the model")


def _trains(module: nn.Module) -> bool:
    """Return whether a module itself may compute something else in training mode."""
    own = next(module.parameters(recurse=False), None)
    return own is not None or isinstance(module, nn.modules.dropout._DropoutNd)


def _check_trees(weight_dtype: str, precision: str) -> None:
    if weight_dtype != WEIGHT_DTYPE[precision]:
        way_out = next(name for name, dtype in WEIGHT_DTYPE.items() if dtype == weight_dtype)
        raise ValueError(
            f"precision={precision!r}: weights of trees are quantized to {weight_dtype} already; "
            f"choose {way_out!r}, or optimize the original"
        )


def _quantize_trees(model: nn.Module, precision: str) -> None:
    if (weight_dtype := WEIGHT_DTYPE[precision]) is None:
        return
    for module in model.modules():  # whole models first: their configurations say it, too
        layers = [m for m in module.modules() if isinstance(m, FastFeedForward)]
        if any(layer.weight_dtype for layer in layers):
            continue
        if layers and isinstance(module, Quantizable | FastFeedForward):
            module.quantize_(weight_dtype)


def _replace_linears(model: nn.Module, precision: str) -> dict[Choice, int]:
    """Put optimized linear layers in the place of others; return how many, by choice."""
    owners = Counter(id(p) for m in model.modules() for p in m.parameters(recurse=False))
    made: dict[int, OptimizedLinear] = {}  # by the layer: one that is used twice stays one
    choices: Counter[Choice] = Counter()
    for parent in list(model.modules()):
        for name, layer in list(parent._modules.items()):
            if isinstance(parent, LEFT_OUT) or not _is_plain(layer):
                continue
            if id(layer) not in made:
                made[id(layer)], choice = _optimized(layer, precision, owners)
                choices[choice] += 1
            setattr(parent, name, made[id(layer)])
    return dict(choices)


def _optimized(
    layer: Any, precision: str, owners: Mapping[int, int]
) -> tuple[OptimizedLinear, Choice]:
    """Return what takes the place of a layer; weights of several owners are kept."""
    transposed = isinstance(layer, Conv1D)
    out_features, in_features = (layer.weight.T if transposed else layer.weight).shape
    choice = fastest_linear(in_features, out_features, layer.bias is not None, precision)
    shared = owners[id(layer.weight)] > 1
    return OptimizedLinear(layer.weight, layer.bias, choice.linear, shared, transposed), choice


def _is_plain(layer: Any) -> bool:
    """Return whether a layer is linear and nothing else: no subclass, hooks or pruned weights."""
    if type(layer) not in (nn.Linear, Conv1D):
        return False
    hooks = (layer._forward_hooks, layer._forward_pre_hooks)
    return "weight" in layer._parameters and not any(hooks)
