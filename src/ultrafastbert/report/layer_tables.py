"""Tables of layer speeds: rows -> Markdown, every ratio beside what it is a ratio to."""

from collections.abc import Iterable

from ultrafastbert.report import published
from ultrafastbert.report.tables import (
    CACHE_TITLES,
    LAYER_GROUP,
    NONE,
    fast_kernel,
    fastest,
    fresh,
    group,
    latest,
    markdown_table,
    number,
    timed,
    times,
)
from ultrafastbert.rows import Row


def layer_table(rows: Iterable[Row]) -> str:
    """Return the speed of fast feedforward layers by tokens, with the ratio to each baseline.

    A line for the float32 kernel, and one for the fastest narrower precision where there is any.
    """
    parts = []
    for key, same in group(timed(rows), *LAYER_GROUP).items():
        cases = [case for case in group(same, "n_tokens").values() if fast_kernel(case)]
        if not cases:
            continue
        family, hidden, pass_name, cache, threads = key
        ours = next(row for row in same if row["role"] == "fff")
        parts.append(
            f"**{family}** ({ours['n_active']} of {ours['n_neurons']} neurons active), hidden size "
            f"{hidden}, {pass_name}, {CACHE_TITLES[cache]}, threads: {threads}\n"
        )
        header = ["tokens", "kernel", "µs per token (p10 to p90)", "x dense in PyTorch float32"]
        header += ["x fastest float32 dense", "x fastest dense", "x fastest dense of active width"]
        header += ["x masked", "share of the limit", "leaves"]
        parts.append(markdown_table(header, _layer_lines(cases)) + "\n")
    return "\n".join(parts)


def _layer_lines(cases: list[list[Row]]) -> Iterable[list[str]]:
    for case in cases:
        for narrow in (False, True):
            if ours := fast_kernel(case, narrow):
                yield _layer_line(ours, case)


def _layer_line(ours: Row, case: list[Row]) -> list[str]:
    n_tokens = ours["n_tokens"]
    low, high = (number(ours[f"latency_us_{end}"] / n_tokens) for end in ("low", "high"))
    baselines = (
        fastest(case, "latency_us", role="dense", precision="float32"),
        fastest(case, "latency_us", role="dense"),
        fastest(case, "latency_us", role="ff_active"),
    )
    return [
        f"{n_tokens:,}",
        f"{ours['implementation']} {ours['precision']}",
        f"{number(ours['us_per_token'])} ({low} to {high})",
        times(ours["speedup_over"].get("dense eager float32")),
        *(_over(ours, baseline) for baseline in baselines),
        times(ours["speedup_over"].get("fff masked float32")),
        _share(ours),
        f"{ours['distinct_leaves']:,} of {ours['n_leaves']:,}",
    ]


def _over(ours: Row, baseline: Row | None) -> str:
    """Return the ratio to a baseline, and what that is: `12x (packed float32)`."""
    if baseline is None:
        return NONE
    how = f"{baseline['implementation']} {baseline['precision']}"
    return f"{times(ours['speedup_over'].get(baseline['contestant']))} ({how})"


def _share(row: Row) -> str:
    return f"{row['share_of_floor']:.0%}" if "share_of_floor" in row else NONE


def layer_details(rows: Iterable[Row]) -> str:
    """Return µs per token of every contestant by tokens."""
    parts = []
    for (family, hidden, pass_name, cache, threads), same in group(
        timed(rows), *LAYER_GROUP
    ).items():
        tokens = sorted({row["n_tokens"] for row in same})
        header = [f"{family}, {hidden}, {pass_name}, {cache}, threads: {threads}"]
        body = []
        for (name,), found in group(same, "contestant").items():
            cells = {row["n_tokens"]: number(row["us_per_token"]) for row in found}
            body.append([name, *(cells.get(n, NONE) for n in tokens)])
        parts.append(markdown_table([*header, *(f"{n:,} tokens" for n in tokens)], body) + "\n")
    return "\n".join(parts)


# Ways to write both layers, as in the paper's columns: title, dense contestant, fast contestant.
ROUTINES = (
    ("BLAS level 1", "dense blas1 float32", "fff blas1 float32"),
    ("BLAS level 2", "dense blas2 float32", "fff blas2 float32"),
    ("BLAS level 3", "dense blas3 float32", "fff blas3 float32"),
    (
        "PyTorch (dense eager; FFF by gather and batched products)",
        "dense eager float32",
        "fff gather float32",
    ),
)


def paper_table(rows: Iterable[Row]) -> str:
    """Return table 2 of arXiv 2311.10770 done right: each way to write the layers, on one thread.

    Of each family the case with the most tokens, as the paper has 16,384; empty without BLAS rows.
    """
    found = [row for row in fresh(rows) if row["pass"] == "forward" and row["threads"] == 1]
    parts = []
    for (family, hidden), same in group(found, "family", "hidden_size").items():
        n_tokens = max(row["n_tokens"] for row in same)
        case = [row for row in same if row["n_tokens"] == n_tokens]
        if any(row["implementation"] == "blas1" for row in case) and fast_kernel(case):
            parts.append(_paper_case(family, hidden, n_tokens, case))
    return "\n".join(parts)


def _paper_case(family: str, hidden: int, n_tokens: int, case: list[Row]) -> str:
    ours = next(row for row in case if row["role"] == "fff")
    limit = ours["n_neurons"] / ours["n_active"]
    is_published = (family, hidden) == published.LAYER_SPEED_OF
    title = (
        f"**{family}**, hidden size {hidden}, {n_tokens:,} tokens, forward, one thread; "
        f"{ours['n_active']} of {ours['n_neurons']} neurons, so at most {number(limit, 4)}x by "
        "arithmetic\n"
    )
    header = ["written with", "dense, µs per token", "FFF, µs per token", "x dense so written"]
    header += ["x fastest float32 dense", "x fastest dense", "share of the limit"]
    header += (
        ["published, x dense so written", "published, x dense level 3"] if is_published else []
    )
    names = {row["contestant"]: row for row in case}
    lines = [
        (what, names.get(dense), names.get(fast), published.LAYER_SPEED.get(fast))
        for what, dense, fast in ROUTINES
    ]
    dense = fastest(case, "latency_us", role="dense", precision="float32")
    lines.append(
        (
            "native float32 (dense: the fastest)",
            dense,
            fast_kernel(case),
            published.LAYER_SPEED["fff native float32"],
        )
    )
    if narrow := fast_kernel(case, narrow=True):
        dense = fastest(case, "latency_us", role="dense")
        lines.append((f"native {narrow['precision']} (dense: the fastest)", dense, narrow, None))
    body = [_paper_line(*line, case, is_published) for line in lines]
    note = f"\n{published.LAYER_SPEED_SOURCE}\n" if is_published else ""
    return f"{title}\n{markdown_table(header, body)}\n{note}"


def _paper_line(
    what: str,
    dense: Row | None,
    ours: Row | None,
    known: tuple[str, str] | None,
    case: list[Row],
    is_published: bool,
) -> list[str]:
    cells = [what, number(dense["us_per_token"]) if dense else NONE]
    if ours is None:
        cells += [NONE] * 5
    else:
        best = fastest(case, "latency_us", role="dense", precision="float32")
        overall = fastest(case, "latency_us", role="dense")
        ratio = ours["speedup_over"].get(dense["contestant"]) if dense else None
        cells += [number(ours["us_per_token"]), times(ratio)]
        cells += [_over(ours, best), _over(ours, overall), _share(ours)]
    return [*cells, *((known or (NONE, NONE)) if is_published else ())]


def width_table(rows: Iterable[Row]) -> str:
    """Return time over the number of neurons, fast beside the fastest dense layer as wide."""
    parts = []
    found = timed(rows, "width")
    for (hidden, n_tokens, threads), same in group(
        found, "hidden_size", "n_tokens", "threads"
    ).items():
        parts.append(
            f"**Over the number of neurons**: hidden size {hidden}, {n_tokens:,} tokens, forward, "
            f"threads: {threads}\n"
        )
        header = ["neurons", "active", "FFF, µs per token", "share of the limit"]
        header += [
            "fastest narrower precision, µs",
            "fastest dense, µs per token",
            "x fastest dense",
        ]
        cases = group(same, "n_neurons").values()
        parts.append(markdown_table(header, map(_width_line, cases)) + "\n")
    return "\n".join(parts)


def _width_line(case: list[Row]) -> list[str]:
    ours, narrow = fast_kernel(case), fast_kernel(case, narrow=True)
    dense = fastest(case, "latency_us", role="dense")
    assert ours is not None
    return [
        f"{ours['n_neurons']:,}",
        str(ours["n_active"]),
        number(ours["us_per_token"]),
        _share(ours),
        f"{number(narrow['us_per_token'])} ({narrow['precision']})" if narrow else NONE,
        number(dense["us_per_token"]) if dense else NONE,
        _over(ours, dense),
    ]


def machine_table(rows: Iterable[Row]) -> str:
    """Return what the machine can do at most, by threads: what the limits are computed from."""
    found = [row for row in rows if row["kind"] == "machine"]
    if not found:
        return ""
    header = ["threads", "float32 multiply-adds, G/s", "read L2, GB/s", "read last level, GB/s"]
    header += ["read memory, GB/s", "write memory, GB/s"]
    rates = ("multiply_adds", "l2_bytes", "llc_bytes", "dram_bytes", "write_bytes")
    body = [
        [str(row["threads"]), *(number(row[f"{rate}_per_s"] / 1e9) for rate in rates)]
        for row in latest(found, "threads")
    ]
    return markdown_table(header, body) + "\n"
