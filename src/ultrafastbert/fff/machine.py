"""What this machine holds and computes: memory for weights, bfloat16."""

import psutil
import torch


def check_memory(
    n_elements: int,
    dtype: torch.dtype | None,
    device: torch.device | str | None,
    what: str = "the layer's weights",
) -> None:
    """Raise ValueError where so many elements are more than this machine's memory.

    An operating system that overcommits would grant the memory and end the process on first use.
    """
    where = torch.get_default_device() if device is None else torch.device(device)
    n_bytes = n_elements * (dtype or torch.get_default_dtype()).itemsize
    total = psutil.virtual_memory().total
    if where.type == "cpu" and n_bytes > total:
        raise ValueError(
            f"{what}: {n_bytes / 2**30:,.1f} GiB are needed, but this machine has "
            f"{total / 2**30:.1f} GiB of memory; choose a smaller depth, n_trees or leaf_size"
        )


def bf16_supported(device_type: str | None = None) -> bool:
    """Return whether a device computes in bfloat16, rather than emulating it.

    By default the accelerator if there is one, else the processor.
    """
    if (device_type or ("cuda" if torch.cuda.is_available() else "cpu")) == "cuda":
        return torch.cuda.is_bf16_supported()
    checks = ("_is_avx512_bf16_supported", "_is_amx_tile_supported")  # private, so looked for
    return any(getattr(torch.cpu, check, bool)() for check in checks)
