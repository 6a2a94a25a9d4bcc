"""Speed of the whole model, in inference and training, with each kind of feedforward layer.

A layer's speed-up says little about the model's: attention stays. The model without any
feedforward layer (`none`) shows the most that a faster one could give.
"""

from collections.abc import Callable, Iterator
from contextlib import nullcontext
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import psutil
import torch
from torch import Tensor, nn

from ultrafastbert.bench.encoders import with_linears
from ultrafastbert.bench.gate import expect, prove
from ultrafastbert.bench.timing import OtherLoad, Timing, check_threads, interleave, use_threads
from ultrafastbert.fff.layer import FastFeedForward
from ultrafastbert.inference.optimized.backends import available_linears, has_bfloat16
from ultrafastbert.kernels import choose_kernel, use_kernel
from ultrafastbert.models import UltraFastBertConfig, UltraFastBertForMaskedLM
from ultrafastbert.rows.files import append_row
from ultrafastbert.rows.models import ModelRow
from ultrafastbert.runs.outputs import check_file

OnProgress = Callable[[int, int, str], None]  # cases done, cases in all, what comes next

N_BATCHES = 4  # that rotate
MLM_PROBABILITY = 0.25  # labelled tokens, as in pretraining (arXiv 2212.14034)
# Bytes of weights per parameter: every implementation holds its own in inference (4 + 4 + 2 + 2 + 1
# + 2 bytes); value, gradient and two moments in training.
WEIGHT_BYTES = {"forward": 15, "training": 16}
# Activations kept for the backward pass: about this many values of 4 bytes per token and layer
# for each unit of the hidden size, and three for each neuron of a dense layer.
KEPT_PER_HIDDEN = 24


@dataclass(frozen=True)
class ModelBenchConfig:
    """What to time.

    Attributes:
        model: sizes; its fast feedforward layer is compared with dense ones. Weights are random.
        shapes: (batch, sequence) of inference, each a case.
        training_shapes: (batch, sequence) of training steps, each a case.
        threads: number of threads; by default as many as PyTorch uses.
        seconds: budget of a case, for all models together.
        seed: of weights and tokens.
    """

    model: UltraFastBertConfig
    shapes: tuple[tuple[int, int], ...] = ((1, 128), (32, 128))
    training_shapes: tuple[tuple[int, int], ...] = ((32, 128),)
    threads: int = field(default_factory=torch.get_num_threads)
    seconds: float = 10.0
    seed: int = 0

    def __post_init__(self):
        if self.model.ffn_type != "fff":
            raise ValueError(
                f"ffn_type={self.model.ffn_type!r} is dense; give a model with a fast feedforward "
                "layer, its dense twins are timed beside it"
            )
        if self.model.num_hidden_layers < 1:
            raise ValueError("num_hidden_layers=0: the model has no layer to time")
        check_threads((self.threads,))
        if self.seconds <= 0:
            raise ValueError(f"seconds={self.seconds} must be positive")
        for pass_name, shapes in (("forward", self.shapes), ("training", self.training_shapes)):
            for batch, sequence in shapes:
                _check_shape(batch, sequence, self.model)
                _check_memory(self.model, pass_name, batch * sequence)


@dataclass(frozen=True)
class TimedModel:
    """One model, computed one way."""

    variant: str  # fff, fff_masked, ff, ff_active, none
    implementation: str
    precision: str
    model: UltraFastBertForMaskedLM
    run: Callable[[int], object]

    @property
    def name(self) -> str:
        """Unique name within a case."""
        return f"{self.variant} {self.implementation} {self.precision}"


def bench_model(
    config: ModelBenchConfig,
    on_progress: OnProgress | None = None,
    path: str | Path | None = None,
) -> list[ModelRow]:
    """Time models and return the rows; each is appended to the file `path`, case by case.

    Timed are the model as it is (`fff`), computed by masking (`fff_masked`), with a dense layer
    of as many neurons (`ff`), of as many as are active (`ff_active`), and without (`none`).
    Inference is of the encoder, under every implementation of its linear layers that PyTorch has
    here (`bench_engines` has other engines); training is a step of masked language modelling with
    fused AdamW, under bfloat16 autocast where the processor has it. Raises RuntimeError if the
    kernel does not equal the definition.
    """
    if path:
        check_file(path)
    rows: list[ModelRow] = []
    cases = [("forward", shape) for shape in config.shapes]
    cases += [("training", shape) for shape in config.training_shapes]
    for done, (pass_name, shape) in enumerate(cases):
        if on_progress:
            on_progress(done, len(cases), f"{pass_name}, batch {shape[0]} of {shape[1]} tokens")
        with use_threads(config.threads):
            measured = _measure(pass_name, shape, config)
            rows.extend(append_row(path, row) if path else row for row in measured)
    return rows


def variants(config: UltraFastBertConfig) -> dict[str, UltraFastBertConfig]:
    """Return the configurations of a model and of its dense controls, without dropout."""
    changes: dict[str, dict] = {
        "fff": {},
        "ff": {"ffn_type": "ff", "intermediate_size": config.n_neurons},
        "ff_active": {"ffn_type": "ff", "intermediate_size": config.n_active},
        "none": {"ffn_type": "none"},
    }
    sizes = {**config.to_dict(), "hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
    return {name: UltraFastBertConfig(**{**sizes, **change}) for name, change in changes.items()}


def _measure(
    pass_name: str, shape: tuple[int, int], config: ModelBenchConfig
) -> Iterator[ModelRow]:
    torch.manual_seed(config.seed)
    models = {name: UltraFastBertForMaskedLM(c) for name, c in variants(config.model).items()}
    _prove(models["fff"], shape[0] * shape[1], pass_name)
    make = _for_inference if pass_name == "forward" else _for_training
    timed = {each.name: each for each in make(models, shape)}
    load = OtherLoad()
    with torch.inference_mode(pass_name == "forward"):
        timings = interleave({name: each.run for name, each in timed.items()}, config.seconds)
    shared = {**_shared_fields(pass_name, shape, config), "other_load": load.share()}
    for name, each in timed.items():
        times = _timing_fields(name, timings, shape[0] * shape[1])
        yield ModelRow(**shared, **_model_fields(each), **times)


def _prove(model: UltraFastBertForMaskedLM, n_tokens: int, pass_name: str) -> None:
    """Hold the first layer's kernel against the definition, on as many tokens as are timed."""
    layer = next(m for m in model.modules() if isinstance(m, FastFeedForward))
    x = torch.randn(n_tokens, layer.hidden_size)
    prove(_kernel_name(layer), layer, expect(layer, x), backward=pass_name == "training")


def _for_inference(
    models: dict[str, UltraFastBertForMaskedLM], shape: tuple[int, int]
) -> Iterator[TimedModel]:
    batches = [_tokens(models["fff"].config.vocab_size, shape) for _ in range(N_BATCHES)]
    for linear in available_linears():
        for variant, model in models.items():
            encoder = with_linears(model.model, linear, shape[0] * shape[1]).eval()
            run = partial(_infer, encoder, batches, None)
            yield TimedModel(variant, linear.name, linear.precision, model, run)
    masked = partial(_infer, models["fff"].model.eval(), batches, "masked")
    yield TimedModel("fff_masked", "eager", "float32", models["fff"], masked)


def _infer(encoder: nn.Module, batches: list[Tensor], kernel: str | None, number: int) -> None:
    with use_kernel(kernel) if kernel else nullcontext():
        encoder(batches[number % len(batches)])


def _for_training(
    models: dict[str, UltraFastBertForMaskedLM], shape: tuple[int, int]
) -> Iterator[TimedModel]:
    bf16 = has_bfloat16()
    how = ("autocast", "bfloat16") if bf16 else ("eager", "float32")
    batches = [_tokens(models["fff"].config.vocab_size, shape) for _ in range(N_BATCHES)]
    for variant, model in models.items():
        optimizer = torch.optim.AdamW(model.train().parameters(), lr=1e-4, fused=True)
        train = partial(_train, model, optimizer, batches, bf16)
        yield TimedModel(variant, *how, model, partial(train, None))
        if variant == "fff":
            yield TimedModel("fff_masked", *how, model, partial(train, "masked"))


def _train(
    model: UltraFastBertForMaskedLM,
    optimizer: torch.optim.Optimizer,
    batches: list[Tensor],
    bf16: bool,
    kernel: str | None,
    number: int,
) -> None:
    ids = batches[number % len(batches)]
    labels = ids.clone()
    labels[:, int(MLM_PROBABILITY * ids.shape[1]) + 1 :] = -100  # which ones makes no difference
    with use_kernel(kernel) if kernel else nullcontext():
        with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
            loss = model(input_ids=ids, labels=labels).loss
        loss.backward()
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)


def _tokens(vocab_size: int, shape: tuple[int, int]) -> Tensor:
    return torch.randint(1, vocab_size, shape)  # 0 is the padding


def _kernel_name(layer: FastFeedForward) -> str:
    return choose_kernel(layer.kernel, layer.problem(torch.float32)).name


def _shared_fields(
    pass_name: str, shape: tuple[int, int], config: ModelBenchConfig
) -> dict[str, Any]:
    return {
        "family": config.model.ffn_name,
        "hidden_size": config.model.hidden_size,
        "num_hidden_layers": config.model.num_hidden_layers,
        "vocab_size": config.model.vocab_size,
        "pass_name": pass_name,
        "batch": shape[0],
        "sequence": shape[1],
        "n_tokens": shape[0] * shape[1],
        "threads": config.threads,
        "seed": config.seed,
    }


def _model_fields(timed: TimedModel) -> dict[str, Any]:
    config = timed.model.config
    layers = [m for m in timed.model.modules() if isinstance(m, FastFeedForward)]
    kernel = _kernel_name(layers[0]) if layers else None
    return {
        "variant": timed.variant,
        "implementation": timed.implementation,
        "precision": timed.precision,
        "ffn": config.ffn_name,
        "kernel": "masked" if timed.variant == "fff_masked" else kernel,
        "n_active": config.n_active,
        "n_neurons": config.n_neurons,
        "n_parameters": timed.model.num_parameters(),
    }


def _timing_fields(name: str, timings: dict[str, Timing], n_tokens: int) -> dict[str, Any]:
    timing = timings[name]
    dense = [other for other in timings if other.startswith("ff ")]
    return {
        "latency_ms": timing.median * 1e3,
        "latency_ms_low": timing.low * 1e3,
        "latency_ms_high": timing.high * 1e3,
        "tokens_per_s": n_tokens / timing.median,
        "rounds": len(timing.seconds),
        "calls": timing.calls,
        "fastest_dense": min(dense, key=lambda other: timings[other].median),
        "speedup_over": {o: timing.speedup_over(t) for o, t in timings.items() if o != name},
    }


def _check_shape(batch: int, sequence: int, model: UltraFastBertConfig) -> None:
    if batch < 1 or sequence < 1:
        raise ValueError(f"batch {batch} x sequence {sequence} must be at least 1 x 1")
    if sequence > model.max_position_embeddings:
        raise ValueError(
            f"sequence={sequence} is longer than max_position_embeddings="
            f"{model.max_position_embeddings}"
        )


def _check_memory(model: UltraFastBertConfig, pass_name: str, n_tokens: int) -> None:
    """Raise ValueError where all models together are more than the memory that is free."""
    size, depth, width = model.hidden_size, model.num_hidden_layers, model.n_neurons
    attention = 4 * size * size
    ffn = 2 * size * (2 * width + model.n_active)  # fff, ff and ff_active; none has none
    parameters = depth * (4 * attention + ffn) + 4 * model.vocab_size * size
    kept = depth if pass_name == "training" else 1
    activations = 4 * n_tokens * (kept * (KEPT_PER_HIDDEN * size + 3 * width) + model.vocab_size)
    n_bytes = parameters * WEIGHT_BYTES[pass_name] + activations
    free = psutil.virtual_memory().available
    if n_bytes > free:
        raise ValueError(
            f"timing {pass_name} of {n_tokens} tokens needs about {n_bytes / 2**30:.1f} GiB, but "
            f"{free / 2**30:.1f} GiB are free; choose fewer layers or a smaller batch"
        )
