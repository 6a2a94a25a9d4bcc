"""State dicts of PyPI's `fastfeedforward.FFF` (version 0.2.1), the ancestor of the layer.

It is one tree whose nodes only route, with biases everywhere, trained by soft routing (arXiv
2308.14711). Its tensors, for N = 2^D - 1 nodes and 2^D leaves of L neurons:

    depth ()            node_weights (N, H)      node_biases (N, 1)     node_usage (N)
                        w1s (2^D, H, L)          b1s (2^D, L)           leaf_usage (2^D)
                        w2s (2^D, L, O)          b2s (2^D, O)

The usage is there if it was counted, and `depth` follows from the shapes. Hard decisions go right
iff logit > 0 here; there, iff logit >= 0 in evaluation, and in hardened training iff the sigmoid
rounds to one, which in float32 takes a logit above 1.2e-7. Evaluation in 0.2.1 leaves `b2s` out;
here the leaf adds it.
"""

from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from ultrafastbert.fff import tree
from ultrafastbert.fff.layer import FastFeedForward
from ultrafastbert.models.io.tensor_files import some_names

WEIGHTS = ("node_weights", "node_biases", "w1s", "b1s", "w2s", "b2s")
OPTIONAL = ("depth", "node_usage", "leaf_usage")


def load_fastfeedforward(
    source: Mapping[str, Tensor] | str | Path,
    activation: str = "relu",
    prefix: str = "",
    soft_training: bool = True,
    region_leak: float = 0.0,
    dropout: float = 0.0,
    usage_mode: str | None = None,
    kernel: str | None = None,
) -> FastFeedForward:
    """Return a layer with the weights of a `fastfeedforward.FFF`, on their device, in their dtype.

    Args:
        source: its state dict, or the path of a safetensors file.
        activation: name of its activation, which a state dict does not tell; its default is ReLU.
        prefix: what its tensors' names begin with, for the state dict of a whole model; all
            others are left alone.
        soft_training: False for what is `train_hardened=True` there; the tree then computes only
            what it visits in training, too, without region leak and dropout.
        region_leak, dropout, kernel: see `ultrafastbert.FastFeedForward`.
        usage_mode: by default `soft` if usage was counted, else `none`.

    Raises:
        ValueError, TypeError: for tensors that are missing, unknown, ill-shaped, of mixed dtypes or
            not finite, by name; for files that are not safetensors.
    """
    tensors = source if isinstance(source, Mapping) else _read(Path(source))
    tensors = {name[len(prefix) :]: t for name, t in tensors.items() if name.startswith(prefix)}
    depth = _check(tensors, prefix)
    w1s, w2s = tensors["w1s"], tensors["w2s"]
    usage = tensors.get("leaf_usage")
    layer = FastFeedForward(
        w1s.shape[1],
        depth,
        leaf_size=w1s.shape[2],
        output_size=w2s.shape[2],
        activation=activation,
        node_output=False,
        kernel=kernel,
        device=w1s.device,
        dtype=w1s.dtype,
        leaf_output_bias=True,
        soft_training=soft_training,
        region_leak=region_leak,
        dropout=dropout,
        usage_mode=usage_mode or ("none" if usage is None else "soft"),
    )
    state = _to_layer(tensors)
    if layer.leaf_usage is not None:
        state["leaf_usage"] = layer.leaf_usage if usage is None else usage.unsqueeze(0)
    layer.load_state_dict(state)
    return layer


def to_fastfeedforward_state_dict(layer: FastFeedForward) -> dict[str, Tensor]:
    """Return a copy of a layer's weights that `fastfeedforward.FFF` loads.

    It is to be built with the layer's sizes, its activation, and with `usage_mode` unless the
    layer's is `none`. Evaluation in 0.2.1 leaves `b2s` out. Raises ValueError for a layer that
    cannot be one: several trees, nodes that add to the output, a shared block, quantized weights.
    """
    _check_exportable(layer)
    depth, n_nodes, n_leaves = layer.depth, tree.n_nodes(layer.depth), tree.n_leaves(layer.depth)
    w_in, b_in, w_out = (w.detach()[0] for w in (layer.w_in, layer.b_in, layer.w_out))
    leaves = (n_leaves, layer.leaf_size)
    zeros = w_out.new_zeros(n_leaves, layer.output_size)
    tensors = {
        "depth": torch.tensor(depth),
        "node_weights": w_in[:n_nodes],
        "node_biases": b_in[:n_nodes, None],
        "w1s": w_in[n_nodes:].unflatten(0, leaves).transpose(1, 2),
        "b1s": b_in[n_nodes:].unflatten(0, leaves),
        "w2s": w_out[n_nodes:].unflatten(0, leaves),
        "b2s": zeros if layer.b_out is None else layer.b_out.detach()[0],
    }
    if layer.leaf_usage is not None and layer.node_usage is not None:
        usage = {"node_usage": layer.node_usage, "leaf_usage": layer.leaf_usage}
        tensors |= {name: counts[0].float() for name, counts in usage.items()}
    return {
        name: tensor.clone(memory_format=torch.contiguous_format)
        for name, tensor in tensors.items()
    }


def _read(path: Path) -> dict[str, Tensor]:
    try:
        return load_file(path)
    except SafetensorError as error:
        raise ValueError(
            f"{path} is not a safetensors file ({error}); of a pickle that you trust, give the "
            "state dict: torch.load(path, weights_only=True)"
        ) from error


def _check(tensors: Mapping[str, Tensor], prefix: str) -> int:
    """Return the depth of the tree; raise an error that names a tensor which does not fit."""
    missing = [prefix + name for name in WEIGHTS if name not in tensors]
    unknown = {prefix + name for name in tensors if name not in WEIGHTS + OPTIONAL}
    if missing:
        raise ValueError(f"no state dict of fastfeedforward.FFF, it lacks {', '.join(missing)}")
    if unknown:
        raise ValueError(
            f"fastfeedforward.FFF has no tensor {some_names(unknown)}; of a whole model, name the "
            "layer by prefix="
        )
    depth = _check_shapes(tensors, prefix)
    for name in WEIGHTS:
        dtype = tensors[name].dtype
        if not dtype.is_floating_point or dtype != tensors["w1s"].dtype:
            raise TypeError(
                f"{prefix}{name} has dtype {dtype} beside {prefix}w1s of {tensors['w1s'].dtype}; "
                "all weights must have one floating-point dtype"
            )
    for name, tensor in tensors.items():
        if not tensor.isfinite().all():
            raise ValueError(f"{prefix}{name} holds NaN or infinity")
    return depth


def _check_shapes(tensors: Mapping[str, Tensor], prefix: str) -> int:
    for name, letters in {"w1s": "2^D, H, L", "w2s": "2^D, L, O"}.items():
        if tensors[name].dim() != 3 or 0 in tensors[name].shape:
            shape = tuple(tensors[name].shape)
            raise ValueError(f"{prefix}{name} has shape {shape}; it must be ({letters})")
    n_leaves, hidden_size, leaf_size = tensors["w1s"].shape
    depth = n_leaves.bit_length() - 1
    if n_leaves != tree.n_leaves(depth):
        raise ValueError(f"{prefix}w1s has {n_leaves} leaves; it must be a power of two")
    n_nodes, output_size = tree.n_nodes(depth), tensors["w2s"].shape[2]
    shapes = {
        "depth": (),
        "node_weights": (n_nodes, hidden_size),
        "node_biases": (n_nodes, 1),
        "node_usage": (n_nodes,),
        "b1s": (n_leaves, leaf_size),
        "w2s": (n_leaves, leaf_size, output_size),
        "b2s": (n_leaves, output_size),
        "leaf_usage": (n_leaves,),
    }
    for name, shape in shapes.items():
        if name in tensors and tuple(tensors[name].shape) != shape:
            given = tuple(tensors[name].shape)
            raise ValueError(f"{prefix}{name} has shape {given}; {prefix}w1s and w2s need {shape}")
    if "depth" in tensors and tensors["depth"].item() != depth:
        raise ValueError(
            f"{prefix}depth is {tensors['depth'].item()}, but {prefix}w1s has {n_leaves} leaves"
        )
    return depth


def _to_layer(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the state dict of the layer: nodes, which add nothing to the output, then leaves."""
    node_weights, w2s = tensors["node_weights"], tensors["w2s"]
    w_in = torch.cat([node_weights, tensors["w1s"].transpose(1, 2).flatten(0, 1)])
    b_in = torch.cat([tensors["node_biases"].squeeze(1), tensors["b1s"].flatten()])
    w_out = torch.cat([w2s.new_zeros(len(node_weights), w2s.shape[2]), w2s.flatten(0, 1)])
    state = {"w_in": w_in, "b_in": b_in, "w_out": w_out, "b_out": tensors["b2s"]}
    return {name: tensor.unsqueeze(0) for name, tensor in state.items()}


def _check_exportable(layer: FastFeedForward) -> None:
    reasons = {
        f"n_trees={layer.n_trees}": layer.n_trees > 1,
        "node_output=True": layer.node_output and layer.depth > 0,
        "shared_size": layer.shared is not None,
        f"weight_dtype={layer.weight_dtype!r}": layer.weight_dtype is not None,
    }
    given = [name for name, is_so in reasons.items() if is_so]
    if given:
        raise ValueError(f"fastfeedforward.FFF has nothing for {', '.join(given)}")
