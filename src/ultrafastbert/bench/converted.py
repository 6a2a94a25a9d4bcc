"""How fast a converted model and its controls are beside the original, at their fastest, too."""

import itertools
from collections import defaultdict
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple, cast

import torch
from torch import Tensor
from torch.nn.functional import cosine_similarity
from transformers import AutoTokenizer, PreTrainedModel, PreTrainedTokenizerBase

from ultrafastbert.bench import encoder_latency as latency
from ultrafastbert.bench.encoder_latency import Encode
from ultrafastbert.bench.encoders import with_linears
from ultrafastbert.bench.timing import OtherLoad, use_threads
from ultrafastbert.data import docstrings
from ultrafastbert.inference.optimized.backends import available_linears
from ultrafastbert.models.converted.folder import load_dense
from ultrafastbert.models.io.saved import load_as_saved
from ultrafastbert.rows.files import append_rows
from ultrafastbert.rows.models import ConvertSpeedRow
from ultrafastbert.rows.upgrades import MODELS_1
from ultrafastbert.runs.status import Show, show_nothing

# Files of documentation that texts to time are cut from.
N_FILES = 32
# Mean cosine of texts' vectors, below which a way to compute a model does not compute it.
LEAST_COSINE = {"float32": 0.9999, "bfloat16": 0.99, "int8": 0.9}


class EncoderName(NamedTuple):
    """A model, computed one way."""

    model: str
    implementation: str
    precision: str

    def __str__(self) -> str:
        return " ".join(self)


def bench_converted(
    folder: str | Path,
    original: str | Path,
    on_status: Show = show_nothing,
) -> list[ConvertSpeedRow]:
    """Time what `convert` wrote, its controls and the original; return a row for each way.

    Rows, of kind `convert_speed`, are appended to the folder's `rows.jsonl`: for each model one for
    every dense backend of PyTorch on this machine; `bench_engines` has other engines.
    `speedup_SHAPE` is over the original in eager float32, its slowest,
    `speedup_SHAPE_over_fastest` over the fastest of the original;
    `cosine_SHAPE` tells how near vectors of texts are to those of the model as it is. Forward, one
    thread, texts of the documentation of Python's library; all in turn. Where weights of fast
    feedforward layers are float32, the model is timed with int8 ones, too.

    Raises OSError for missing files, ValueError for weights that do not fit and for models whose
    vocabularies differ, RuntimeError for a way that does not compute its model.
    """
    folder, original = Path(folder), Path(original)
    started = datetime.now(UTC).isoformat(timespec="seconds")
    on_status("loading models", 0, None)
    models = _models(folder, original)
    in_layers = _in_layers(models["fff"]) or ()
    ids = _tokens(AutoTokenizer.from_pretrained(folder))
    fields: dict[EncoderName, dict[str, Any]] = defaultdict(dict)
    for title, shape in latency.SHAPES.items():
        batches = latency.batches_of_shape(models.values(), shape, ids)
        encoders = _in_pytorch(models, batches[0].numel())
        on_status(f"timing {len(encoders)} ways to encode a {title}", 0, None)
        for name, found in _time(title, models, encoders, batches):
            fields[name] |= found
    new = [
        ConvertSpeedRow(
            original=original.absolute().name,
            run_ffn=", ".join(dict.fromkeys(ffn or "original" for ffn in in_layers)),
            started=started,
            **name._asdict(),
            ffn=_in_layers(models[name.model]),
            weight_dtype=_weight_dtype(models[name.model]) or "float32",
            **found,
        )
        for name, found in fields.items()
    ]
    return append_rows(folder / "rows.jsonl", new)


def _models(folder: Path, original: Path) -> dict[str, PreTrainedModel]:
    """Return the models by name, without heads."""
    models: dict[str, PreTrainedModel] = {"fff": load_as_saved(folder).eval()}
    if models["fff"].config.weight_dtype is None:
        models["fff_int8"] = load_as_saved(folder, weight_dtype="int8").eval()
    for control in sorted((folder / "controls").glob("*/config.json")):
        name = MODELS_1.get(control.parent.name, control.parent.name)
        models[name] = load_as_saved(control.parent).eval()
    models["teacher"] = load_dense(original)
    sizes = {model.config.vocab_size for model in models.values()}
    if len(sizes) > 1:
        raise ValueError(f"{original} is not the original of {folder}: their vocabularies differ")
    return {name: cast(PreTrainedModel, model.base_model) for name, model in models.items()}


def _in_layers(model: PreTrainedModel) -> tuple[str | None, ...] | None:
    """Return what is in the layers of a converted model, None for the original."""
    in_layers = getattr(model.config, "ffn", None)
    return None if in_layers is None else tuple(in_layers)


def _weight_dtype(model: PreTrainedModel) -> str | None:
    return getattr(model.config, "weight_dtype", None)


def _in_pytorch(models: Mapping[str, PreTrainedModel], n_tokens: int) -> dict[EncoderName, Encode]:
    """Return the models under each implementation of linear layers, for so many tokens."""
    return {
        EncoderName(name, linear.name, linear.precision): latency.encoder_of(
            with_linears(model, linear, n_tokens, keeps_dtype=True)
        )
        for name, model in models.items()
        for linear in available_linears()
    }


def _time(
    title: str,
    models: Mapping[str, PreTrainedModel],
    encoders: Mapping[EncoderName, Encode],
    batches: Tensor,
) -> Iterator[tuple[EncoderName, dict[str, Any]]]:
    """Give encoders and the fields of their rows at one shape."""
    cosines = _cosines(models, encoders, batches[0])
    for name, cosine in cosines.items():
        if not cosine >= LEAST_COSINE[name.precision]:
            raise RuntimeError(
                f"{name} gives other vectors than the model itself: their mean cosine is "
                f"{cosine:.3f}; its time would mean nothing"
            )
    load = OtherLoad()
    timings = latency.time_encoders(encoders, batches, latency.SECONDS)
    of_original = [timings[name] for name in encoders if name.model == "teacher"]
    fastest = min(of_original, key=lambda timing: timing.median)
    for name, timing in timings.items():
        fields = latency.timing_fields(title, timing, of_original[0], load)
        fields[f"speedup_{title}_over_fastest"] = timing.speedup_over(fastest)
        yield name, fields | {f"cosine_{title}": cosines[name]}


def _cosines(
    models: Mapping[str, PreTrainedModel], encoders: Mapping[EncoderName, Encode], ids: Tensor
) -> dict[EncoderName, float]:
    """Return the mean cosines of texts' mean vectors to those of the models as they are."""
    with use_threads(1), torch.inference_mode():
        expected = {name: latency.encoder_of(model)(ids).mean(1) for name, model in models.items()}
        return {
            each: float(cosine_similarity(encode(ids).mean(1), expected[each.model]).mean())
            for each, encode in encoders.items()
        }


def _tokens(tokenizer: PreTrainedTokenizerBase) -> Tensor:
    """Return tokens of real text, one after the other: (T)."""
    harvest = docstrings.harvest((docstrings.STANDARD_LIBRARY,))
    texts = [text.text for text in itertools.islice(harvest, N_FILES)]
    ids = tokenizer(texts, add_special_tokens=False, verbose=False)["input_ids"]
    return torch.tensor(list(itertools.chain.from_iterable(ids)))
