"""The limits of the machine, measured: what no kernel can beat (machine.cpp of the core)."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path

import torch

from ultrafastbert.rows.layers import MachineRow

try:
    from ultrafastbert_runtime import _native_bench
except ImportError:
    _native_bench = None  # type: ignore[assignment]

SECONDS = 0.04  # of a measurement
ATTEMPTS = 5  # of which the best counts: a limit is what the machine can do undisturbed
# Where the system does not tell the sizes of the caches: common ones of server processors.
ASSUMED_L2, ASSUMED_LLC = 2**20, 2**25
# Working sets: half a cache holds them for sure, four times the largest one does not.
FILL, OVERFLOW = 0.5, 4


def is_available() -> bool:
    """Return whether the native core, which holds the loops, was built with the package."""
    return _native_bench is not None


@cache
def measure(threads: int) -> MachineRow:
    """Measure what so many threads can do, once a process; takes about a second."""
    l2, llc = cache_bytes()

    def read(total: float) -> float:
        share = int(total) // threads
        return _together(threads, lambda: _native_bench.read_rate(share, SECONDS))

    overflow = OVERFLOW * llc // threads
    return MachineRow(
        threads=threads,
        fma_per_s=_together(threads, lambda: _native_bench.fma_rate(SECONDS)),
        l2_bytes=l2 * threads,
        l2_bytes_per_s=read(FILL * l2 * threads),
        llc_bytes=llc,
        llc_bytes_per_s=read(FILL * llc),
        dram_bytes_per_s=read(OVERFLOW * llc),
        write_bytes_per_s=_together(threads, lambda: _native_bench.write_rate(overflow, SECONDS)),
    )


def _together(threads: int, rate: Callable[[], float]) -> float:
    """Return the best of several sums of the rates of threads that run at once."""
    with ThreadPoolExecutor(threads) as pool:
        sums = (
            sum(run.result() for run in [pool.submit(rate) for _ in range(threads)])
            for _ in range(ATTEMPTS)
        )
        return max(sums)


def cache_bytes(folder: Path = Path("/sys/devices/system/cpu/cpu0/cache")) -> tuple[int, int]:
    """Return the sizes in bytes of a core's L2 cache and of the last level.

    Read from Linux; common sizes elsewhere.
    """
    sizes = {}
    for index in folder.glob("index*"):
        if (index / "type").read_text().strip() != "Instruction":
            size = (index / "size").read_text().strip()  # such as 1024K
            sizes[int((index / "level").read_text())] = int(size.rstrip("K")) * 1024
    return sizes.get(2, ASSUMED_L2), max(sizes[max(sizes)] if sizes else ASSUMED_LLC, ASSUMED_L2)


class CacheFlush:
    """Empties the caches: reads a buffer of twice the last level."""

    def __init__(self) -> None:
        self.buffer = torch.ones(2 * cache_bytes()[1] // 4)

    def __call__(self) -> None:
        """Read the buffer."""
        self.buffer.sum()
