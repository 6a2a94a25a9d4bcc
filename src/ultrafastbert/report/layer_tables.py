"""Tables of layer speeds: rows -> Markdown, every ratio beside what it is a ratio to."""

from collections.abc import Iterable

from ultrafastbert.report.cells import NONE, markdown_table, number, times
from ultrafastbert.report.grouping import group, latest, of_kind
from ultrafastbert.report.layer_cases import fast_kernel, fastest, n_tokens, setting, timed
from ultrafastbert.report.titles import CACHE_TITLES
from ultrafastbert.rows.layers import LayerTime, MachineRow, WidthRow
from ultrafastbert.rows.row import Row


def layer_table(rows: Iterable[Row]) -> str:
    """Return the speed of fast feedforward layers by tokens, with the ratio to each baseline.

    A line for the float32 kernel, and one for the fastest narrower precision where there is any.
    """
    parts = []
    for key, same in group(timed(rows), setting).items():
        cases = [case for case in group(same, n_tokens).values() if fast_kernel(case)]
        if not cases:
            continue
        ours = next(row for row in same if row.role == "fff")
        parts.append(
            f"**{key.family}** ({ours.n_active} of {ours.n_neurons} neurons active), hidden size "
            f"{key.hidden_size}, {key.pass_name}, {CACHE_TITLES[key.cache]}, "
            f"threads: {key.threads}\n"
        )
        header = ["tokens", "kernel", "µs per token (p10 to p90)", "x dense in PyTorch float32"]
        header += ["x fastest float32 dense", "x fastest dense", "x fastest dense of active width"]
        header += ["x masked", "fraction of roofline", "leaves"]
        parts.append(markdown_table(header, _layer_lines(cases)) + "\n")
    return "\n".join(parts)


def _layer_lines(cases: list[list[LayerTime]]) -> Iterable[list[str]]:
    for case in cases:
        for narrow in (False, True):
            if ours := fast_kernel(case, narrow):
                yield _layer_line(ours, case)


def _layer_line(ours: LayerTime, case: list[LayerTime]) -> list[str]:
    low, high = (
        number(micros / ours.n_tokens) for micros in (ours.latency_us_low, ours.latency_us_high)
    )
    baselines = (fastest(case, "dense", "float32"), fastest(case, "dense"))
    return [
        f"{ours.n_tokens:,}",
        f"{ours.implementation} {ours.precision}",
        f"{number(ours.us_per_token)} ({low} to {high})",
        times(ours.speedup_over.get("dense eager float32")),
        *(over(ours, baseline) for baseline in (*baselines, fastest(case, "ff_active"))),
        times(ours.speedup_over.get("fff masked float32")),
        fraction(ours),
        f"{ours.distinct_leaves:,} of {ours.n_leaves:,}",
    ]


def over(ours: LayerTime, baseline: LayerTime | None) -> str:
    """Return the ratio to a baseline, and what that is: `12x (packed float32)`."""
    if baseline is None:
        return NONE
    how = f"{baseline.implementation} {baseline.precision}"
    return f"{times(ours.speedup_over.get(baseline.name))} ({how})"


def fraction(row: LayerTime) -> str:
    """Return the fraction of the roofline in per cent."""
    return NONE if row.roofline_fraction is None else f"{row.roofline_fraction:.0%}"


def layer_details(rows: Iterable[Row]) -> str:
    """Return µs per token of every implementation by tokens."""
    parts = []
    for key, same in group(timed(rows), setting).items():
        tokens = sorted({row.n_tokens for row in same})
        header = [
            f"{key.family}, {key.hidden_size}, {key.pass_name}, {key.cache}, threads: {key.threads}"
        ]
        body = []
        for name, found in group(same, lambda row: row.name).items():
            cells = {row.n_tokens: number(row.us_per_token) for row in found}
            body.append([name, *(cells.get(n, NONE) for n in tokens)])
        parts.append(markdown_table([*header, *(f"{n:,} tokens" for n in tokens)], body) + "\n")
    return "\n".join(parts)


def width_table(rows: Iterable[Row]) -> str:
    """Return time over the number of neurons, fast beside the fastest dense layer as wide."""
    parts = []
    groups = group(timed(rows, WidthRow), lambda row: (row.hidden_size, row.n_tokens, row.threads))
    for (hidden_size, tokens, threads), same in groups.items():
        parts.append(
            f"**Over the number of neurons**: hidden size {hidden_size}, {tokens:,} tokens, "
            f"forward, threads: {threads}\n"
        )
        header = ["neurons", "active", "FFF, µs per token", "fraction of roofline"]
        header += ["fastest narrower precision, µs", "fastest dense, µs per token"]
        header += ["x fastest dense"]
        cases = group(same, lambda row: row.n_neurons).values()
        parts.append(markdown_table(header, map(_width_line, cases)) + "\n")
    return "\n".join(parts)


def _width_line(case: list[LayerTime]) -> list[str]:
    ours, narrow = fast_kernel(case), fast_kernel(case, narrow=True)
    dense = fastest(case, "dense")
    assert ours is not None
    return [
        f"{ours.n_neurons:,}",
        str(ours.n_active),
        number(ours.us_per_token),
        fraction(ours),
        f"{number(narrow.us_per_token)} ({narrow.precision})" if narrow else NONE,
        number(dense.us_per_token) if dense else NONE,
        over(ours, dense),
    ]


def machine_table(rows: Iterable[Row]) -> str:
    """Return what the machine can do at most, by threads: what rooflines are computed from."""
    found = latest(of_kind(rows, MachineRow), lambda row: row.threads)
    if not found:
        return ""
    header = ["threads", "float32 FMA, G/s", "read L2, GB/s", "read last level, GB/s"]
    header += ["read memory, GB/s", "write memory, GB/s"]
    return markdown_table(header, map(_machine_line, found)) + "\n"


def _machine_line(row: MachineRow) -> list[str]:
    rates = [row.fma_per_s, row.l2_bytes_per_s, row.llc_bytes_per_s]
    rates += [row.dram_bytes_per_s, row.write_bytes_per_s]
    return [str(row.threads), *(number(rate / 1e9) for rate in rates)]
