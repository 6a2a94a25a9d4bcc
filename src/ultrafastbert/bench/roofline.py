"""The roofline of a fast feedforward layer: the least time that the machine allows."""

from dataclasses import dataclass

import torch
from torch import Tensor

from ultrafastbert.fff import tree
from ultrafastbert.fff.layer import FastFeedForward
from ultrafastbert.rows.layers import MachineRow

# Distinct rows are counted over this many calls, and averaged.
COUNTED_CALLS = 64
ACTIVATION_BYTES = 4


@dataclass(frozen=True)
class LayerCall:
    """What one call of a layer computes and moves at the least.

    Attributes:
        n_tokens, hidden_size, output_size: T, H and O.
        n_active: neurons that a token visits, K (D + L).
        n_rows: neurons of the layer, K R.
        ranks: (n) places of the distinct rows visited, most used first: 0 is the row that is
            surest to be in a cache. Of `n_calls` calls together.
        n_calls: calls that the ranks are of.
        live_tokens: tokens of all inputs in rotation: what a cache would have to keep of x.
        cold: whether the caches were emptied before.
        backward: whether the gradients are computed, too.
        weight_bytes: bytes of a weight.
    """

    n_tokens: int
    hidden_size: int
    output_size: int
    n_active: int
    n_rows: int
    ranks: Tensor
    n_calls: int
    live_tokens: int
    cold: bool
    backward: bool
    weight_bytes: float = 4


def roofline_us(limits: MachineRow, call: LayerCall) -> float:
    """Return the least time of a token in microseconds: max(arithmetic, memory) over the tokens.

    Arithmetic: T n_active (H + O) FMAs at the measured peak, three times as many with the
    backward pass; products of narrow weights at 4 / weight_bytes times float32's rate.

    Memory, each at the measured rate of where it lives: x is read once, y written once, and of each
    distinct row visited w_in and w_out are read once, from the L2 cache for the most used
    rows that fit it, from the last level for those that fit that, else from memory; all from memory
    when cold. The backward pass also reads grad_y, and writes grad_x and the gradients of all rows,
    of which those that nobody visited are zeros.
    """
    n_terms = call.n_tokens * call.n_active * (call.hidden_size + call.output_size)
    rate = limits.fma_per_s * 4 / call.weight_bytes
    arithmetic = n_terms * (3 if call.backward else 1) / rate
    return max(arithmetic, memory_seconds(limits, call)) / call.n_tokens * 1e6


def memory_seconds(limits: MachineRow, call: LayerCall) -> float:
    """Return the least time in seconds for what one call moves; see `roofline_us`."""
    token_in, token_out = (ACTIVATION_BYTES * n for n in (call.hidden_size, call.output_size))
    x, y = call.n_tokens * token_in, call.n_tokens * token_out
    seconds = x / _read_rate(limits, call.live_tokens * token_in, call.cold)
    seconds += y / _write_rate(limits, y, call.cold)
    seconds += _rows_seconds(limits, call)
    if call.backward:
        gradients = call.n_rows * (token_in + token_out)
        seconds += y / _read_rate(limits, y, call.cold)
        seconds += x / _write_rate(limits, x, call.cold)
        seconds += gradients / _write_rate(limits, gradients, call.cold)
    return seconds


def _rows_seconds(limits: MachineRow, call: LayerCall) -> float:
    row_bytes = call.weight_bytes * (call.hidden_size + call.output_size)
    caches = (
        ()
        if call.cold
        else (
            (limits.l2_bytes, limits.l2_bytes_per_s),
            (limits.llc_bytes, limits.llc_bytes_per_s),
        )
    )
    places = call.ranks + 1
    seconds, held = 0.0, 0.0  # held: rows that the caches so far have room for
    for capacity, rate in (*caches, (float("inf"), limits.dram_bytes_per_s)):
        room = capacity / row_bytes
        n_rows = int(((places > held) & (places <= room)).sum()) / call.n_calls
        seconds += n_rows * row_bytes / rate
        held = room
    return seconds


def _read_rate(limits: MachineRow, live_bytes: float, cold: bool) -> float:
    if cold or live_bytes > limits.llc_bytes:
        return limits.dram_bytes_per_s
    return limits.l2_bytes_per_s if live_bytes <= limits.l2_bytes else limits.llc_bytes_per_s


def _write_rate(limits: MachineRow, live_bytes: float, cold: bool) -> float:
    # A cache takes writes at most as fast as it gives reads.
    if cold or live_bytes > limits.llc_bytes:
        return limits.write_bytes_per_s
    return _read_rate(limits, live_bytes, cold)


def count_rows(layer: FastFeedForward, inputs: list[Tensor]) -> tuple[Tensor, int]:
    """Return the ranks of the rows that calls visit, each once a call, and the number of calls.

    Inputs of (T, H) that rotate use the rows near the root most, so a row's place in heap order is
    its rank. A single input, used again and again, uses all of its rows alike.
    """
    inputs = inputs[:COUNTED_CALLS]
    ranks = torch.cat([_distinct_rows(layer, x) for x in inputs])
    return (torch.arange(len(ranks)) if len(inputs) == 1 else ranks), len(inputs)


def _distinct_rows(layer: FastFeedForward, x: Tensor) -> Tensor:
    """Return the distinct rows that a call visits, numbered level by level across the trees."""
    leaf = layer.visited_leaves(x)  # (T, K)
    rows = tree.path_rows(leaf, layer.depth, layer.leaf_size)  # (T, K, S)
    trees = torch.arange(layer.n_trees)[:, None]
    return (rows * layer.n_trees + trees).unique()
