"""The fast feedforward layer as a module of PyTorch, in training and in inference."""

import math
from typing import Any

import torch
from torch import Tensor, nn
from torch.compiler import is_compiling

from ultrafastbert import kernels
from ultrafastbert.fff import ops, soft, transforms, tree
from ultrafastbert.fff.activations import check_activation
from ultrafastbert.fff.dense import FeedForward, check_sizes
from ultrafastbert.fff.machine import check_memory
from ultrafastbert.fff.quantization import (
    Weights,
    check_finite,
    check_weight_dtype,
    dequantize,
    quantize,
)
from ultrafastbert.fff.quantized_ops import fast_feedforward_quantized
from ultrafastbert.fff.spec import TreeSpec, tree_spec
from ultrafastbert.fff.usage import add_counts
from ultrafastbert.kernels.base import Prepared, Problem


class FastFeedForward(nn.Module):
    """Feedforward layer of K trees of neurons, of which a token visits one path each.

    Maps (..., hidden_size) to (..., output_size) with K * (D + L) + shared_size active neurons of
    K * (2^D - 1 + 2^D * L) + shared_size. No output bias (arXiv 2311.10770, section 2) unless
    asked. Its ancestor, trained by soft routing (arXiv 2308.14711), is `node_output=False,
    leaf_output_bias=True, soft_training=True`; evaluation takes one path all the same.

    Args:
        hidden_size: H, size of a token.
        depth: D, decisions on a path; 0 is a dense layer.
        n_trees: K; the outputs of the trees are summed.
        leaf_size: L, neurons per leaf.
        output_size: O; `hidden_size` by default.
        activation: name of the activation, see `ultrafastbert.fff.activations`.
        node_output: whether nodes add to the output or only route. If not, they get no gradient
            but from soft training.
        shared_size: width of a dense block that every token uses ("master" neurons, arXiv
            2405.16836); 0 for none.
        kernel: name of the kernel, see `ultrafastbert.kernels`; by default the fastest that fits.
        weight_dtype: None, or `bfloat16` or `int8` to hold quantized weights, for inference; see
            `quantize_`.
        exact_routing: whether nodes keep their input rows in float32 beside quantized weights.
        leaf_output_bias: whether the leaf that a token reaches adds a bias to the output.
        soft_training: whether all leaves answer in training mode, mixed by the decisions'
            probabilities, see `ultrafastbert.fff.soft`; may be changed at any time.
        region_leak: probability that a decision is swapped, in soft training.
        dropout: probability that a neuron's activation is dropped, in soft training.
        usage_mode: what `leaf_usage` adds up in training mode: `none`, or of each token the
            `hard` leaf reached or the `soft` probability of every leaf (in soft training).

    Attributes:
        w_in: (K, R, H), b_in: (K, R), w_out: (K, R, O); R = 2^D - 1 nodes in heap order followed
            by 2^D leaf blocks of L rows.
        b_out: (K, 2^D, O), or None without `leaf_output_bias`.
        entropies: (K, 2^D - 1), batch means of the decisions' entropies in the last soft call in
            training mode, for `hardening_loss`; None before it.
        leaf_usage: (K, 2^D), tokens by leaf, int64 or for `soft` float64; None where `usage_mode`
            is `none`. Calls during a backward pass, as of checkpointing, do not count.

    Raises:
        ValueError: for sizes that are not positive, unknown names, or more than the memory.
    """

    w_in: Tensor
    b_in: Tensor
    w_out: Tensor
    b_out: Tensor | None
    leaf_usage: Tensor | None

    def __init__(
        self,
        hidden_size: int,
        depth: int,
        n_trees: int = 1,
        leaf_size: int = 1,
        output_size: int | None = None,
        activation: str = "gelu",
        node_output: bool = True,
        shared_size: int = 0,
        kernel: str | None = None,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
        weight_dtype: str | None = None,
        exact_routing: bool = False,
        leaf_output_bias: bool = False,
        soft_training: bool = False,
        region_leak: float = 0.0,
        dropout: float = 0.0,
        usage_mode: str = "none",
    ):
        super().__init__()
        output_size = hidden_size if output_size is None else output_size
        tree.check_geometry(depth, leaf_size, n_trees)
        check_weight_dtype(weight_dtype)
        check_activation(activation)
        kernels.check_kernel(kernel)
        check_sizes(hidden_size=hidden_size, output_size=output_size)
        if shared_size < 0:
            raise ValueError(f"shared_size={shared_size} must be at least 0")
        soft.check_options(soft_training, usage_mode, region_leak=region_leak, dropout=dropout)
        self.hidden_size, self.output_size = hidden_size, output_size
        self.depth, self.n_trees, self.leaf_size = depth, n_trees, leaf_size
        self.activation, self.node_output, self.kernel = activation, node_output, kernel
        self.soft_training, self.usage_mode = soft_training, usage_mode
        self.region_leak, self.dropout = region_leak, dropout
        self.entropies: Tensor | None = None
        self._prepared: Prepared | None = None
        self.weight_dtype: str | None = None
        factory: dict[str, Any] = {"device": device, "dtype": dtype}
        self._create_weights(leaf_output_bias, factory)
        self.register_buffer("leaf_usage", self._make_counters(device))
        self.shared = (
            FeedForward(hidden_size, shared_size, output_size, activation, bias=True, **factory)
            if shared_size
            else None
        )
        self.reset_parameters()
        kernels.place_weights(self.w_in, self.w_out)
        if weight_dtype:
            self.quantize_(weight_dtype, exact_routing)

    def _create_weights(self, leaf_output_bias: bool, factory: dict[str, Any]) -> None:
        """Create parameters without values. Raises ValueError where they exceed the memory."""
        trees, leaves = (self.n_trees, self.spec.n_rows), (self.n_trees, tree.n_leaves(self.depth))
        shapes = {
            "w_in": (*trees, self.hidden_size),
            "b_in": trees,
            "w_out": (*trees, self.output_size),
            "b_out": (*leaves, self.output_size) if leaf_output_bias else None,
        }
        n_elements = sum(math.prod(shape) for shape in shapes.values() if shape)
        check_memory(n_elements, factory["dtype"], factory["device"])
        for name, shape in shapes.items():
            weight = None if shape is None else nn.Parameter(torch.empty(shape, **factory))
            setattr(self, name, weight)

    def _make_counters(self, device: torch.device | str | None) -> Tensor | None:
        if self.usage_mode == "none":
            return None
        # Counters in a lower precision would stop growing.
        dtype = torch.int64 if self.usage_mode == "hard" else torch.float64
        return torch.zeros(self.n_trees, tree.n_leaves(self.depth), device=device, dtype=dtype)

    @property
    def spec(self) -> TreeSpec:
        """Sizes and options of the trees, as functions and kernels take them."""
        return tree_spec(self.depth, self.leaf_size, self.activation, self.node_output)

    def problem(self, dtype: torch.dtype) -> Problem:
        """Return what kernels are asked for by x of this dtype, where the weights are."""
        sizes = (self.n_trees, self.hidden_size, self.output_size)
        return Problem(self.b_in.device.type, dtype, self.spec, *sizes)

    @property
    def n_active(self) -> int:
        """Neurons that one token uses."""
        shared = self.shared.intermediate_size if self.shared is not None else 0
        return tree.n_active(self.depth, self.leaf_size, self.n_trees) + shared

    @property
    def n_neurons(self) -> int:
        """Neurons of the layer."""
        shared = self.shared.intermediate_size if self.shared is not None else 0
        return self.b_in.numel() + shared

    def reset_parameters(self) -> None:
        """Draw the weights: unit-variance logits, outputs scaled by the active neurons; bias 0."""
        nn.init.normal_(self.w_in, std=self.hidden_size**-0.5)
        nn.init.zeros_(self.b_in)
        nn.init.normal_(self.w_out, std=self.n_active**-0.5)
        if self.b_out is not None:
            nn.init.zeros_(self.b_out)

    def quantize_(self, weight_dtype: str, exact_routing: bool = False) -> "FastFeedForward":
        """Replace the weights by `bfloat16` ones, or `int8` with row scales; return the layer.

        For inference: the layer has no parameters any more, but buffers, and routes hard in
        training mode, too. Biases and sums stay in float32. With `exact_routing` nodes keep their
        input rows in float32, so that no token changes its path.
        Raises ValueError as `check_quantizable` does, and leaves the layer as it is then.
        """
        self.check_quantizable(weight_dtype)
        exact_rows = tree.n_nodes(self.depth) if exact_routing else 0
        with torch.no_grad():
            weights = quantize(self.w_in, self.b_in, self.w_out, weight_dtype, exact_rows)
        b_out = None if self.b_out is None else self.b_out.detach().float()
        del self.w_in, self.b_in, self.w_out, self.b_out
        self.register_buffer("b_out", b_out)
        for name, tensor in weights._asdict().items():
            self.register_buffer(name, tensor)
        self.weight_dtype, self._prepared = weight_dtype, None
        return self

    def check_quantizable(self, weight_dtype: str) -> None:
        """Raise ValueError unless `quantize_` takes this name and these weights.

        It takes no weights that are quantized already, not finite, or computed from others.
        """
        check_weight_dtype(weight_dtype)
        if self.weight_dtype:
            raise ValueError(f"weights are {self.weight_dtype} already; quantize the original")
        weights = self.weights()
        check_finite(weights.w_in, weights.b_in, weights.w_out)

    def weights(self) -> Weights:
        """Return the weights as they are held, quantized or not.

        Raises ValueError for weights that are computed from others, as pruned ones are.
        """
        held = self._buffers if self.weight_dtype else {**self._buffers, **self._parameters}
        if name := self._other_than(held):
            raise ValueError(
                f"{name} is computed at each call, as by pruning or a parametrization; make it a "
                f"parameter by torch.nn.utils.prune.remove(layer, {name!r}) or "
                f"torch.nn.utils.parametrize.remove_parametrizations(layer, {name!r})"
            )
        return Weights.held_by(held)

    def _other_than(self, held: dict[str, Any]) -> str | None:
        """Return the name of a weight that is not the one held, if there is one."""
        names = ("w_in", "b_in", "w_out", "b_out")
        return next((name for name in names if held.get(name) is not getattr(self, name)), None)

    @property
    def _holder(self) -> dict[str, Any]:
        return self._buffers if self.weight_dtype else self._parameters

    def forward(self, x: Tensor) -> Tensor:
        """Map (..., hidden_size) to (..., output_size)."""
        y = None
        if not is_compiling():  # compilers ask no further
            prepared = self._prepared
            if prepared is not None and kernels.may_use(prepared.kernel, self.kernel):
                y = prepared.call(x)
        if y is None:
            y = self._call_operator(x)
        return y if self.shared is None else y + self.shared(x)

    def _call_operator(self, x: Tensor) -> Tensor:
        if self.training and self.soft_training and not self.weight_dtype:
            return self._mix(x)
        if self.weight_dtype:
            weights = self.weights()
            y = fast_feedforward_quantized(x, weights, self.spec, self.kernel, self.b_out)
        else:
            y = self._route(x)
        if not torch.is_grad_enabled() and not is_compiling():
            prepared = self._prepared
            if prepared is None or prepared.dtype != x.dtype or not prepared.holds():
                # For the next call; the operator has checked the weights by now.
                self._prepared = self._prepare(x.dtype)
        return y

    def _route(self, x: Tensor) -> Tensor:
        """Return the output of one path a tree; count the leaves in training mode."""
        y, leaf = ops.fast_feedforward_with_leaf(
            x, self.w_in, self.b_in, self.w_out, self.spec, self.kernel, self.b_out
        )
        if self.training and self.leaf_usage is not None:
            add_counts(self.leaf_usage, soft.count_leaves(leaf, self.depth))
        return y

    def _mix(self, x: Tensor) -> Tensor:
        """Return the soft mixture of all leaves; keep the decisions' entropies and usage."""
        weights = (self.w_in, self.b_in, self.w_out, self.b_out)
        y, right = soft.soft_feedforward(x, *weights, self.spec, self.region_leak, self.dropout)
        entropies = soft.decision_entropies(right)
        if not _is_recomputing() and not transforms.is_active():
            self.entropies = entropies
        if self.leaf_usage is not None:
            right = right.detach() if self.usage_mode == "soft" else right.detach().round()
            counts = soft.visit_probabilities(right, self.depth)[1].sum(0)
            add_counts(self.leaf_usage, counts.to(self.leaf_usage.dtype))
        return y

    @property
    def node_usage(self) -> Tensor | None:
        """Tokens that came by each node, (K, 2^D - 1): the sum of the `leaf_usage` below."""
        return None if self.leaf_usage is None else soft.node_usage(self.leaf_usage, self.depth)

    def __setattr__(self, name: str, value: Any) -> None:
        super().__setattr__(name, value)
        # The fast path asks for none of these, so it ends where one of them changes.
        if name in ("depth", "leaf_size", "activation", "node_output", "soft_training", "training"):
            self._prepared = None

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *args: Any) -> None:
        usage = state_dict.get(f"{prefix}leaf_usage")
        if usage is not None and self.leaf_usage is not None:  # also where it takes the place
            state_dict[f"{prefix}leaf_usage"] = usage.to(self.leaf_usage.dtype)
        super()._load_from_state_dict(state_dict, prefix, *args)

    def __getstate__(self) -> dict[str, Any]:
        """Copy and pickle without what belongs to a call: a graph, addresses."""
        return {**self.__dict__, "entropies": None, "_prepared": None}

    def _apply(self, fn: Any, recurse: bool = True) -> "FastFeedForward":
        """Move or convert the layer; quantized weights and counters keep their dtypes."""
        self._prepared = None
        for child in self.children() if recurse else ():
            child._apply(fn)

        def move(tensor: Tensor) -> Tensor:
            moved = fn(tensor)
            keeps = self.weight_dtype is not None or tensor is self.leaf_usage
            return tensor.to(moved.device) if keeps and moved.dtype != tensor.dtype else moved

        return super()._apply(move, recurse=False)

    def _prepare(self, dtype: torch.dtype) -> Prepared | None:
        """Return the fast path past the operator for x of this dtype, where there is one."""
        if self.training and self.leaf_usage is not None:
            return None  # leaves are to be counted
        holder = self._holder
        if self._other_than(holder):
            return None  # computed at each call, as by pruning
        return kernels.prepare(self.kernel, self.problem(dtype), holder)

    def visited_leaves(self, x: Tensor) -> Tensor:
        """Return the leaf that each token reaches: (..., hidden_size) -> (..., n_trees) int64.

        With quantized weights, a logit within rounding of zero may decide otherwise in `forward`.
        """
        if self.weight_dtype:
            w_in, b_in, _ = dequantize(self.weights())
            x = x.float() if x.is_floating_point() else x  # others are refused
            return ops.visited_leaves(x, w_in, b_in, self.depth, self.leaf_size)
        return ops.visited_leaves(x, self.w_in, self.b_in, self.depth, self.leaf_size)

    def extra_repr(self) -> str:
        """Describe the layer in `print(model)`."""
        return (
            f"{self.hidden_size}, depth={self.depth}, n_trees={self.n_trees}, "
            f"leaf_size={self.leaf_size}, output_size={self.output_size}, "
            f"activation={self.activation!r}, node_output={self.node_output}, "
            f"leaf_output_bias={self.b_out is not None}, soft_training={self.soft_training}, "
            f"weight_dtype={self.weight_dtype}, "
            f"active={self.n_active}/{self.n_neurons}"
        )


def _is_recomputing() -> bool:
    """Return whether a backward pass is under way, in which checkpointing computes layers again."""
    return not is_compiling() and torch._C._current_graph_task_id() != -1


def hardening_loss(model: nn.Module) -> Tensor:
    """Return the sum of the decisions' entropies in the last call of a model's soft layers.

    Added to the loss with a weight, it makes decisions hard: sum over layers, trees and nodes of
    the batch mean, in nats (arXiv 2308.14711). All tokens count, padding, too. Raises ValueError
    where no layer was called in training mode with `soft_training=True`, and where the call was
    without gradients though the weights learn.
    """
    layers = [module for module in model.modules() if isinstance(module, FastFeedForward)]
    entropies = [layer.entropies for layer in layers if layer.entropies is not None]
    if not entropies:
        raise ValueError(
            "no layer has entropies: build them with soft_training=True and call the model in "
            "training mode first"
        )
    is_cut_off = (
        layer.w_in.requires_grad and not layer.entropies.requires_grad
        for layer in layers
        if layer.entropies is not None
    )
    if torch.is_grad_enabled() and any(is_cut_off):
        raise ValueError(
            "the entropies of a layer's last call have no gradient: call the model with gradients, "
            "and checkpoint it with use_reentrant=False"
        )
    return torch.stack([entropy.sum() for entropy in entropies]).sum()
