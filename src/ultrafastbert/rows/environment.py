"""What a number depends on: processor, system, versions, threads."""

import platform
from dataclasses import dataclass
from functools import cache
from importlib.metadata import version
from pathlib import Path


@dataclass(frozen=True)
class Environment:
    """Where a row was measured.

    Attributes:
        cpu: name of the processor.
        system: operating system and architecture.
        python, torch, transformers, ultrafastbert: versions.
        threads: that PyTorch computes with.
    """

    cpu: str
    system: str
    python: str
    torch: str
    transformers: str
    ultrafastbert: str
    threads: int


def environment() -> Environment:
    """Return where this process runs."""
    import torch  # takes seconds, and whoever reads rows does without

    return Environment(
        cpu=_cpu(),
        system=f"{platform.system()} {platform.machine()}",
        python=platform.python_version(),
        torch=torch.__version__,
        transformers=version("transformers"),
        ultrafastbert=version("ultrafastbert"),
        threads=torch.get_num_threads(),
    )


@cache
def _cpu() -> str:
    info = Path("/proc/cpuinfo")  # the only place that knows the name on Linux
    lines = info.read_text(encoding="utf-8", errors="replace").splitlines() if info.exists() else []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()
