"""Time the thresholds of `blocks.h` beside other values of theirs; append the rows to a file.

    taskset -c 0 python csrc/bench/sweep.py results/thresholds.jsonl [CONSTANT ...]

Builds the core with CMake, and what includes `blocks.h` once more for each value. In each round
every value has a process of its own, in another order, whose fastest call counts: what disturbs the
machine disturbs all values. Needs cmake, ninja and a C++ compiler.
"""

import os
import random
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
from functools import cache
from pathlib import Path

from ultrafastbert.rows import append_rows
from ultrafastbert.rows.layers import ThresholdRow
from ultrafastbert.rows.row import Spread

ROOT = Path(__file__).parents[2]
N_ROUNDS = 9
SECONDS = 0.25  # of one process
# Constant, trees x depth, tokens, pass, values; each at a size where the constant decides.
Case = tuple[str, str, int, str, list[int]]
CASES: list[Case] = [
    ("block_tokens", "1x11", 16384, "forward", [32, 64, 128, 256, 512]),
    ("block_tokens", "1x11", 256, "forward", [64, 128, 256]),
    ("top_levels", "1x11", 16384, "forward", [4, 5, 6, 7, 8]),
    ("slice_tokens", "1x11", 16384, "forward", [256, 512, 1024, 2048, 4096]),
    ("batch_tokens", "1x11", 16384, "forward", [4, 8, 16, 32, 64]),
    ("streamed_bytes", "1x11", 1024, "forward", [2 << 20, 4 << 20, 8 << 20]),
    ("streamed_bytes", "1x11", 2048, "forward", [2 << 20, 4 << 20, 8 << 20]),
    ("segment_tokens", "1x11", 4096, "forward+backward", [256, 512, 1024, 2048, 4096]),
    ("gradient_tokens", "1x11", 4096, "forward+backward", [16, 32, 64, 128, 256]),
    ("tokens_per_small_tree", "64x5", 4096, "forward", [128, 256, 512, 1024, 2048]),
    ("tokens_per_large_tree", "8x8", 4096, "forward", [256, 512, 1024, 2048, 4096]),
    ("small_tree_bytes", "64x5", 4096, "forward", [256 << 10, 512 << 10, 1 << 20]),
    ("small_tree_bytes", "32x6", 4096, "forward", [256 << 10, 512 << 10, 1 << 20]),
]


def assignment(constant: str) -> str:
    """Return the pattern of a constant's value, written as a number or as `4 << 20`."""
    return rf"(?<=\b{constant} = )(\d+)(?: << (\d+))?"


def chosen_value(constant: str) -> int:
    """Return the value that the core is shipped with; ValueError if `blocks.h` has no such one."""
    match = re.search(assignment(constant), (ROOT / "csrc" / "core" / "blocks.h").read_text())
    if match is None:
        raise ValueError(f"csrc/core/blocks.h has no whole number named {constant!r}")
    return int(match[1]) << int(match[2] or 0)


def build_library(folder: Path) -> Path:
    """Build the core as it is, with the flags of each instruction set; return the archive."""
    options = ["-GNinja", "-DULTRAFASTBERT_BUILD_TESTS=ON", "-DCMAKE_BUILD_TYPE=Release"]
    subprocess.run(["cmake", "-S", ROOT, "-B", folder, *options], check=True)
    subprocess.run(["cmake", "--build", folder, "--target", "fff"], check=True)
    return folder / "libfff.a"


@cache  # some constants have two cases
def build_timer(library: Path, constant: str, value: int) -> Path:
    """Build the timing program with another value of a constant; return its path."""
    source = library.parent / f"{constant}-{value}"
    shutil.copytree(ROOT / "csrc", source, dirs_exist_ok=True)
    header = source / "core" / "blocks.h"
    header.write_text(re.sub(assignment(constant), str(value), header.read_text()))
    command: list[str | Path] = [os.environ.get("CXX", "c++"), "-O3", "-DNDEBUG", "-std=c++17"]
    command += ["-ffp-contract=off", "-pthread", f"-I{source}", "-o", source / "time_fff"]
    command += (path for path in source.glob("core/*.cpp") if '"blocks.h"' in path.read_text())
    # The library last: what is compiled here takes the place of its own.
    subprocess.run([*command, source / "bench" / "time_fff.cpp", library], check=True)
    return source / "time_fff"


def time_rounds(timers: dict[int, Path], arguments: list[str]) -> dict[int, list[float]]:
    """Return microseconds a token for each value, one number a round."""
    times: dict[int, list[float]] = {value: [] for value in timers}
    for i in range(N_ROUNDS):
        for value in random.Random(i).sample(sorted(timers), len(timers)):
            done = subprocess.run([str(timers[value]), *arguments], check=True, capture_output=True)
            times[value].append(float(done.stdout))
    return times


def spread(values: list[float]) -> Spread:
    """Return the 10th percentile, the median and the 90th percentile."""
    deciles = statistics.quantiles(values, n=10, method="inclusive")
    return Spread(*(round(deciles[i], 4) for i in (0, 4, 8)))


def sweep(library: Path, case: Case) -> list[ThresholdRow]:
    """Return a row for each value of a constant."""
    constant, family, n_tokens, pass_, values = case
    chosen = chosen_value(constant)
    timers = {value: build_timer(library, constant, value) for value in sorted({*values, chosen})}
    times = time_rounds(timers, [*family.split("x"), str(n_tokens), pass_, str(SECONDS)])
    rows = []
    for value in timers:
        low, median, high = spread(times[value])
        ratios = [a / b for a, b in zip(times[value], times[chosen], strict=True)]
        row = ThresholdRow(
            constant=constant,
            family=family,
            hidden_size=768,
            n_tokens=n_tokens,
            pass_name=pass_,
            threads=1,
            rounds=N_ROUNDS,
            value=value,
            chosen=value == chosen,
            us_per_token=median,
            us_per_token_low=low,
            us_per_token_high=high,
            time_over_chosen=spread(ratios),
        )
        rows.append(row)
    return rows


if __name__ == "__main__":
    out, *names = sys.argv[1:]
    with tempfile.TemporaryDirectory() as folder:
        archive = build_library(Path(folder))
        for case in (case for case in CASES if not names or case[0] in names):
            print(*append_rows(out, sweep(archive, case)), sep="\n", flush=True)
