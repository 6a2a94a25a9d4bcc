"""The dense FF layer of equal latency: how wide it is depends on the machine, so it is timed.

Latency is that of the FF layer alone. Within a whole model the dense layer is a little faster at
128 tokens.
"""

from collections.abc import Callable

import torch
from torch import Tensor

from ultrafastbert.bench.layer import build_inputs
from ultrafastbert.bench.timing import interleave, use_threads
from ultrafastbert.models.converted.feedforward import ConvertedFeedForward
from ultrafastbert.rows.conversion import ConvertTimeRow, TimedWidth, WidthSearch

# A short text, and a batch of them.
TOKENS = (128, 4096)
# Widths in between run no faster than the next multiple.
MULTIPLE = 8
# A dense layer beside the tree: some ten rounds of the longest calls.
SECONDS = 1.0

OnWidth = Callable[[str], None]  # what is timed


def time_equal_width(
    hidden_size: int,
    ffn: str,
    seed: int = 0,
    seconds: float = SECONDS,
    on_width: OnWidth = lambda what: None,
) -> ConvertTimeRow:
    """Return how wide a dense layer has the latency of another.

    `width` is the widest multiple of 8 whose time does not exceed that of the layer `ffn`, at 128
    or at 4,096 tokens a call, whichever allows the wider one: the harder control. Where even the
    narrowest that has as many neurons as `ffn` uses is slower, it is that one, never fewer.

    Forward, in PyTorch, float32, one thread, random weights and inputs that rotate, so that most
    leaves are visited. Each width is timed in turn with `ffn` for so many seconds, and compared
    by the median of their ratios. `measured` has the medians, by tokens a call and width.
    """
    torch.manual_seed(seed)
    feedforward = ConvertedFeedForward(hidden_size, ffn)
    with use_threads(1), torch.inference_mode():
        measured = tuple(
            _measure(feedforward, n_tokens, seed, seconds, on_width) for n_tokens in TOKENS
        )
    return ConvertTimeRow(
        ffn=ffn,
        hidden_size=hidden_size,
        n_active=feedforward.n_active,
        width=max(case.width for case in measured),
        measured=measured,
        seed=seed,
    )


def _measure(
    feedforward: ConvertedFeedForward, n_tokens: int, seed: int, seconds: float, on_width: OnWidth
) -> WidthSearch:
    """Return the times at one number of tokens a call, and the width found."""
    hidden_size = len(feedforward.bias)
    inputs = build_inputs(n_tokens, hidden_size, seed)
    timed: list[TimedWidth] = []

    def keeps_up(width: int) -> bool:
        on_width(f"timing dense layers: {width} wide, {n_tokens:,} tokens")
        dense = ConvertedFeedForward(hidden_size, f"ff:{width}")
        runs = {"ffn": _run(feedforward, inputs), "dense": _run(dense, inputs)}
        timings = interleave(runs, seconds)
        micros = {name: 1e6 * timing.median / n_tokens for name, timing in timings.items()}
        timed.append(TimedWidth(width, micros))
        return timings["dense"].speedup_over(timings["ffn"])[1] >= 1

    width = widest(keeps_up, -(-feedforward.n_active // MULTIPLE) * MULTIPLE)
    return WidthSearch(n_tokens, width, tuple(timed))


def _run(feedforward: ConvertedFeedForward, inputs: list[Tensor]) -> Callable[[int], object]:
    return lambda number: feedforward(inputs[number % len(inputs)])


def widest(keeps_up: Callable[[int], bool], narrowest: int) -> int:
    """Return the widest multiple of 8 that keeps up, or `narrowest`, a multiple, where none does.

    Widths are doubled until one does not, then halved in between: each is asked once.
    """
    if not keeps_up(narrowest):
        return narrowest
    width = narrowest
    while keeps_up(2 * width):
        width *= 2
    step = width // MULTIPLE  # in multiples: between the last that did and the first that did not
    low, high = step, 2 * step
    while high - low > 1:
        middle = (low + high) // 2
        if keeps_up(MULTIPLE * middle):
            low = middle
        else:
            high = middle
    return MULTIPLE * low
