"""How many threads a session should use: cores that this process may use, and no more."""

import os
from collections.abc import Iterator
from pathlib import Path

CGROUPS = Path("/sys/fs/cgroup")
OWN_CGROUPS = Path("/proc/self/cgroup")
CPUS = Path("/sys/devices/system/cpu")


def thread_budget() -> int:
    """Return the number of threads worth starting: at least 1.

    Cores, not hardware threads, of those that the process may run on, and no more than the CPU
    time that its control groups allow, as `docker run --cpus` sets it.
    """
    cores = _cores()
    quota = cpu_quota()
    return cores if quota is None else max(1, min(cores, int(quota)))


def cpu_quota(own: Path = OWN_CGROUPS, root: Path = CGROUPS) -> float | None:
    """Return the processors whose time this process may use, None where nothing limits it.

    Source: the Linux kernel's documentation of control groups, version 1 (`cpu.cfs_quota_us`) and 2
    (`cpu.max`). A group's limit counts for all groups below it.
    """
    limits = [limit for folder in _groups(own, root) if (limit := _limit(folder)) is not None]
    return min(limits, default=None)


def _cores() -> int:
    if not hasattr(os, "sched_getaffinity"):  # macOS
        return os.cpu_count() or 1
    return len({_core(cpu) for cpu in os.sched_getaffinity(0)})


def _core(cpu: int) -> str:
    """Return what names the core of a hardware thread."""
    return _read(CPUS / f"cpu{cpu}" / "topology" / "thread_siblings_list") or str(cpu)


def _groups(own: Path, root: Path) -> Iterator[Path]:
    """Yield the folders that may limit this process: of its groups, and of those above."""
    for line in (_read(own) or "").splitlines():
        _, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        if controllers and "cpu" not in controllers.split(","):
            continue
        # Inside a container, paths may be the host's, but the container's group is the root.
        top = root / controllers if controllers else root
        group = top / path.lstrip("/")
        yield group
        yield from (parent for parent in group.parents if parent.is_relative_to(top))


def _limit(folder: Path) -> float | None:
    quota, period = _read(folder / "cpu.cfs_quota_us"), _read(folder / "cpu.cfs_period_us")
    if (both := _read(folder / "cpu.max")) is not None:
        quota, _, period = both.partition(" ")
    try:
        found = int(quota or "") / int(period or "")
    except (ValueError, ZeroDivisionError):  # such as `max 100000`
        return None
    return found if found > 0 else None


def _read(path: Path) -> str | None:
    try:
        return path.read_text(encoding="utf-8").strip()
    except (OSError, ValueError):
        return None
