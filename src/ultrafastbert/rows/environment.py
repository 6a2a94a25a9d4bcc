"""What a number depends on: processor, system, versions, threads."""

import platform
from dataclasses import dataclass
from functools import cache
from importlib.metadata import version
from pathlib import Path

# Flags of Linux, by what people call them.
INSTRUCTIONS = {
    "avx2": "AVX2",
    "avx_vnni": "AVX-VNNI",
    "avx512f": "AVX-512",
    "avx512_vnni": "VNNI",
    "avx512_bf16": "bf16",
    "amx_int8": "AMX",
}


@dataclass(frozen=True)
class Environment:
    """Where a row was measured.

    Attributes:
        cpu: name of the processor.
        system: operating system and architecture.
        python, torch, transformers, ultrafastbert: versions.
        threads: that PyTorch computes with.
        instructions: of the processor, those that decide how fast products are, such as "AVX2";
            None in rows of before, and where the system does not say.
    """

    cpu: str
    system: str
    python: str
    torch: str
    transformers: str
    ultrafastbert: str
    threads: int
    instructions: str | None = None

    @property
    def processor(self) -> str:
        """Name and instructions: machines of one name may differ in what they have."""
        return f"{self.cpu} ({self.instructions})" if self.instructions else self.cpu


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
        instructions=_instructions(),
    )


def _cpu() -> str:
    return _told("model name") or platform.processor() or platform.machine()


def _instructions() -> str | None:
    flags = set(_told("flags").split())
    return ", ".join(name for flag, name in INSTRUCTIONS.items() if flag in flags) or None


@cache
def _told(field: str) -> str:
    """Return what Linux tells of its first processor; empty elsewhere."""
    info = Path("/proc/cpuinfo")  # the only place that knows the name on Linux
    lines = info.read_text(encoding="utf-8", errors="replace").splitlines() if info.exists() else []
    told = (line.split(":", 1) for line in lines if ":" in line)
    return next((value.strip() for name, value in told if name.strip() == field), "")
