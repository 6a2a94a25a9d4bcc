"""Export of whole models to ONNX: fused for ONNX Runtime, or with standard operators only."""

from pathlib import Path
from typing import Any, NamedTuple

import torch
from transformers import PreTrainedModel

from ultrafastbert.imports.extras import require
from ultrafastbert.inference.engines.agreement import Closeness, measure_closeness, prove_equal
from ultrafastbert.inference.engines.attention import FUSED, attention_of
from ultrafastbert.inference.engines.companions import add_companions
from ultrafastbert.inference.engines.fusion import keep_norms_apart, pack_attention
from ultrafastbert.inference.engines.int8 import quantize_products, with_int8_weights
from ultrafastbert.inference.engines.native import NativeFeedForward
from ultrafastbert.inference.engines.paths import with_leaves
from ultrafastbert.inference.engines.program import export_program, save_program
from ultrafastbert.inference.engines.runtimes import ENGINES, check_operator, has_operator
from ultrafastbert.inference.engines.samples import Batches, sample_batches
from ultrafastbert.inference.engines.tracing import (
    NamedOutputs,
    export_arguments,
    input_names,
    load_any,
    outputs_of,
    with_layers,
)
from ultrafastbert.inference.engines.unrolled import expanded_config, unroll
from ultrafastbert.models.bert.configuration import UltraFastBertConfig
from ultrafastbert.models.converted.folder import n_positions
from ultrafastbert.runs import run_folder

MODEL_FILE = "model.onnx"
CHECKED_WITH = "ONNX Runtime"
WHAT = f"the exported model in {CHECKED_WITH}"
OPERATORS = ("native", "standard")
PRECISIONS = ("fp32", "int8")


class OnnxExport(NamedTuple):
    """An exported model and how it compares with the original.

    Attributes:
        path: of `model.onnx`.
        error: largest error before products were quantized, relative to the largest absolute value
            of an output; None where not compared.
        operator: `native` or `standard`.
        precision: `fp32` or `int8`.
        int8: how close int8 outputs are to the original's; None for fp32.
    """

    path: Path
    error: float | None
    operator: str = "standard"
    precision: str = "fp32"
    int8: Closeness | None = None


def export_onnx(
    model_dir: str | Path,
    out: str | Path,
    operator: str | None = None,
    precision: str = "fp32",
) -> OnnxExport:
    """Write a saved model to a new folder as `model.onnx`, with its configuration and tokenizer.

    Takes dense, converted and UltraFastBERT models with any head. Inputs are `input_ids` and
    `attention_mask` (batch, sequence), int64, and `token_type_ids` where the tokenizer gives them;
    outputs are those of the model's class (such as `logits`), float32. Weights lie in
    `model.onnx.data`, small ones in `model.onnx`. A sentence encoder keeps its modules. Where ONNX
    Runtime is installed, the file is compared with the model, outputs and paths, before it is kept.

    Args:
        model_dir: the saved model.
        out: new folder.
        operator: `native` for ONNX Runtime with our operator, attention and norms fused; `standard`
            for any engine, quantized trees expanded to float32; by default native where the
            operator is installed.
        precision: `fp32`, or `int8` for products whose inputs are quantized as they come, int8
            trees (native) and int8 word vectors. Quantized trees stay as they are.

    Raises:
        ImportError: without the extra `onnx`.
        FileExistsError: if `out` is not empty.
        OSError, ValueError: for a folder that is no model and unknown options.
        RuntimeError: if outputs or paths differ, or PyTorch cannot export the model.
    """
    _check_option("precision", precision, PRECISIONS)
    require("onnx", "onnxscript", *(["onnxruntime"] if precision == "int8" else []))
    operator = _chosen_operator(operator)
    out = Path(out)
    with run_folder.new_folder(out) as folder, torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)  # the same inputs are compared each time
        model = load_any(model_dir)
        names = input_names(model, model_dir)
        is_int8, is_native = precision == "int8", operator == "native"
        exact = with_int8_weights(model, with_trees=is_native) if is_int8 else model
        path = folder / MODEL_FILE
        write_onnx(exact, path, operator, _properties(model, operator, precision), names)
        error = _prove(exact, path, names)
        close = None
        if is_int8:
            quantize_products(path)
            close = _measure(model, path, sample_batches(model, Path(model_dir), names))
        config = exact.config if is_native else expanded_config(exact.config)
        add_companions(config, n_positions(model), Path(model_dir), folder)
    return OnnxExport(out / MODEL_FILE, error, operator, precision, close)


def _prove(model: PreTrainedModel, path: Path, names: tuple[str, ...]) -> float | None:
    """Return the error of a file without quantized products; None without ONNX Runtime."""
    engine = ENGINES[CHECKED_WITH]
    if not engine.is_available():
        return None
    with with_leaves(path) as checked:
        return prove_equal(model, engine.open(checked, 0), WHAT, names)


def _measure(model: PreTrainedModel, path: Path, batches: Batches) -> Closeness:
    return measure_closeness(model, ENGINES[CHECKED_WITH].open(path, 0), batches, f"{WHAT} (int8)")


def _chosen_operator(operator: str | None) -> str:
    """Return the operator to use; raise OSError or ValueError for one that cannot be."""
    if operator is None:
        return "native" if has_operator() else "standard"
    _check_option("operator", operator, OPERATORS)
    if operator == "native":
        check_operator()
    return operator


def _check_option(name: str, value: str, choices: tuple[str, ...]) -> None:
    if value not in choices:
        raise ValueError(f"{name}={value!r} is unknown; choose one of {', '.join(choices)}")


def write_onnx(
    model: PreTrainedModel,
    path: Path,
    operator: str = "standard",
    properties: dict[str, str] | None = None,
    names: tuple[str, ...] | None = None,
) -> None:
    """Write a model, in evaluation mode, as an ONNX file with metadata properties.

    `operator` is that of `export_onnx`, `names` are the inputs. Raises RuntimeError where PyTorch
    cannot export the model.
    """
    names = names or input_names(model)
    arguments = export_arguments(model, names)
    with torch.no_grad():
        outputs = list(outputs_of(model, arguments["kwargs"]))
    described = {"input_names": list(names), "output_names": outputs, **arguments}
    is_native = operator == "native"
    traced = with_layers(model, NativeFeedForward) if is_native else unroll(model)
    with attention_of(traced, FUSED if is_native else "eager"), torch.no_grad():
        program = export_program(NamedOutputs(traced).eval(), **described)
    if is_native:
        pack_attention(program.model)
        keep_norms_apart(program.model)
    save_program(program, path, properties or {})


def _properties(model: PreTrainedModel, operator: str, precision: str) -> dict[str, str]:
    longest = n_positions(model)
    return {
        "architecture": type(model).__name__,
        "ffn": _ffn_name(model.config),
        **({"max_position_embeddings": str(longest)} if longest else {}),
        "operator": operator,
        "precision": precision,
    }


def _ffn_name(config: Any) -> str:
    """Return the name of a model's FF layers, one for each where they differ."""
    if isinstance(config, UltraFastBertConfig):
        return config.ffn_name
    names = [name or "dense" for name in getattr(config, "ffn", None) or ["dense"]]
    return names[0] if len(set(names)) == 1 else ",".join(names)
