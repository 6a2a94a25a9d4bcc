"""Kept memory: a large block that was freed is not mapped anew."""

import subprocess
import sys

CODE = """
import resource, sys, torch
from ultrafastbert.cli.allocator import keep_freed_memory

def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(5):
        torch.empty(50 * 2**20, dtype=torch.uint8).fill_(1)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

mapped = faults()
if keep_freed_memory():
    for _ in range(8):  # until small blocks no longer take the place of a large one
        faults()
    assert faults() < mapped / 10
"""


def test_large_blocks_are_kept():
    done = subprocess.run([sys.executable, "-c", CODE], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
