"""Checks of the layer's tensors, once for each call, with errors that name argument and value."""

import torch
from torch import Tensor

from ultrafastbert.fff.quantization import Weights
from ultrafastbert.fff.spec import TreeSpec, logits_dtype

# Dtypes of x that the operator itself takes with quantized weights.
BESIDE_QUANTIZED = (torch.float32, torch.bfloat16)


def flatten_tokens(x: Tensor) -> Tensor:
    """Return tokens (..., H) as (T, H). Raises ValueError for a tensor without sizes."""
    if x.dim() == 0:
        raise ValueError("x has no size; it must be (..., hidden)")
    return x.reshape(-1, x.shape[-1])


def check_floating(name: str, tensor: Tensor) -> None:
    """Raise TypeError unless the tensor is floating point."""
    if not tensor.is_floating_point():
        raise TypeError(f"{name} has dtype {tensor.dtype}; it must be floating point")


def check_last_size(x: Tensor, hidden_size: int) -> None:
    """Raise ValueError unless x is (..., H)."""
    if x.dim() == 0 or x.shape[-1] != hidden_size:
        raise ValueError(f"x has shape {tuple(x.shape)}; its last size must be {hidden_size}")


def check_inputs(x: Tensor, w_in: Tensor, b_in: Tensor, w_out: Tensor, spec: TreeSpec) -> None:
    """Raise TypeError or ValueError unless x (T, H) and the weights fit the spec and each other.

    Shapes: w_in (K, R, H), b_in (K, R), w_out (K, R, O), floating point, all of one dtype and
    device; weights may be float32 beside bfloat16 x.
    """
    if w_in.dim() != 3:
        raise ValueError(f"w_in has shape {tuple(w_in.shape)}; it must be (n_trees, rows, hidden)")
    if w_in.shape[1] != spec.n_rows:
        raise ValueError(
            f"w_in has {w_in.shape[1]} rows per tree, but depth={spec.depth} and "
            f"leaf_size={spec.leaf_size} need 2^depth - 1 + 2^depth * leaf_size = {spec.n_rows}"
        )
    if b_in.shape != w_in.shape[:2]:
        raise ValueError(f"b_in has shape {tuple(b_in.shape)}; w_in needs {tuple(w_in.shape[:2])}")
    if w_out.dim() != 3 or w_out.shape[:2] != w_in.shape[:2]:
        raise ValueError(
            f"w_out has shape {tuple(w_out.shape)}; w_in needs {(*w_in.shape[:2], 'output size')}"
        )
    _check_tokens(x, w_in.shape[2])
    _check_dtypes(x, w_in, b_in, w_out)


def _check_tokens(x: Tensor, hidden_size: int) -> None:
    if x.dim() != 2:
        raise ValueError(f"x has shape {tuple(x.shape)}; it must be (tokens, hidden)")
    check_last_size(x, hidden_size)


def _check_dtypes(x: Tensor, w_in: Tensor, b_in: Tensor, w_out: Tensor) -> None:
    named, device = {"x": x, "w_in": w_in, "b_in": b_in, "w_out": w_out}, x.device
    for name, tensor in named.items():
        check_floating(name, tensor)
        if tensor.device != device:
            raise _is_elsewhere(name, tensor, device)
    for name in ("b_in", "w_out"):
        if named[name].dtype != w_in.dtype:
            raise TypeError(f"{name} has dtype {named[name].dtype}, but w_in has {w_in.dtype}")
    if w_in.dtype != x.dtype and (x.dtype, w_in.dtype) != (torch.bfloat16, torch.float32):
        raise TypeError(
            f"w_in has dtype {w_in.dtype}, but x has {x.dtype}; cast one (weights may be float32 "
            "beside bfloat16 x)"
        )


def _is_elsewhere(name: str, tensor: Tensor, device: torch.device) -> ValueError:
    return ValueError(f"{name} is on {tensor.device}, but x is on {device}")


def check_saved(grad_y: Tensor, x: Tensor, w_in: Tensor, leaf: Tensor, logits: Tensor) -> None:
    """Raise TypeError unless what the backward pass gets has the dtypes of the forward pass."""
    wanted = {"grad_y": x.dtype, "leaf": torch.int64, "logits": logits_dtype(w_in.dtype)}
    given = {"grad_y": grad_y, "leaf": leaf, "logits": logits}
    for name, dtype in wanted.items():
        if given[name].dtype != dtype:
            raise TypeError(f"{name} has dtype {given[name].dtype}; it must be {dtype}")


def check_quantized_inputs(x: Tensor, weights: Weights, spec: TreeSpec) -> None:
    """Raise TypeError or ValueError unless x (T, H) and quantized weights fit the spec."""
    if weights.w_in.dim() != 3 or weights.w_out.dim() != 3:
        raise ValueError("w_in and w_out must be (n_trees, rows, columns)")
    shapes, device = _quantized_shapes(weights, spec), x.device
    for name, tensor in zip(Weights._fields, weights, strict=True):
        if tensor is None:
            continue
        is_narrow = name in ("w_in", "w_out")
        allowed = (torch.bfloat16, torch.int8) if is_narrow else (torch.float32,)
        if tuple(tensor.shape) != shapes[name]:
            raise ValueError(
                f"{name} has shape {tuple(tensor.shape)}; these sizes need {shapes[name]}"
            )
        if tensor.dtype not in allowed:
            raise TypeError(f"{name} has dtype {tensor.dtype}; it must be {allowed[0]}")
        if tensor.device != device:
            raise _is_elsewhere(name, tensor, device)
    for rows, scale in (("w_in", "scale_in"), ("w_out", "scale_out")):
        if getattr(weights, rows).dtype == torch.int8 and getattr(weights, scale) is None:
            raise ValueError(f"{rows} is int8 and needs {scale}")
    _check_tokens(x, weights.w_in.shape[2])
    if x.dtype not in BESIDE_QUANTIZED:
        raise TypeError(
            f"x has dtype {x.dtype}; beside quantized weights it is float32 or bfloat16"
        )


def _quantized_shapes(weights: Weights, spec: TreeSpec) -> dict[str, tuple[int, ...]]:
    n_trees, _, hidden_size = weights.w_in.shape
    n_rows, n_nodes = spec.n_rows, spec.n_nodes
    rows_in = n_rows if weights.w_routing is None else n_rows - n_nodes
    return {
        "w_in": (n_trees, rows_in, hidden_size),
        "b_in": (n_trees, n_rows),
        "w_out": (n_trees, n_rows, weights.w_out.shape[2]),
        "scale_in": (n_trees, rows_in),
        "scale_out": (n_trees, n_rows),
        "w_routing": (n_trees, n_nodes, hidden_size),
    }
