"""Memory that is freed and needed again: kept by the process instead of returned to the system."""

import ctypes
import sys

# Of glibc's malloc.h.
M_TRIM_THRESHOLD, M_MMAP_MAX = -1, -4


def keep_freed_memory() -> bool:
    """Make this process keep large blocks that it frees; return whether its C library can.

    glibc maps blocks of more than 32 MB anew for each request, and the system fills them with
    zeros: for 16,384 tokens of 768 float32 numbers that takes as long as a third of a fast
    feedforward layer. For processes of our own, such as commands: it is a setting of the whole
    process, and memory once used stays its own.
    """
    if not sys.platform.startswith("linux"):
        return False
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:  # another C library, such as musl
        return False
    return bool(mallopt(M_MMAP_MAX, 0)) and bool(mallopt(M_TRIM_THRESHOLD, 2**31 - 1))
