"""Locks between processes: one holder at a time, and nothing is left of them."""

import subprocess
import sys

from ultrafastbert.runs import locks


def test_a_lock_is_a_file_that_goes_away(tmp_path):
    with locks.locked(tmp_path / "lock"), locks.locked(tmp_path / "lock"):
        assert (tmp_path / "lock").exists()
    assert not (tmp_path / "lock").exists()


EXCLUDE = """
import os, sys, time
from pathlib import Path
from ultrafastbert.runs import locks
lock, marker = map(Path, sys.argv[1:])
until, n = time.monotonic() + 2, 0
while time.monotonic() < until:
    try:
        with locks.locked(lock, "in use"):
            os.close(os.open(marker, os.O_CREAT | os.O_EXCL))
            os.unlink(marker)
            n += 1
    except BlockingIOError:
        pass
print(n)
"""


def test_a_lock_that_comes_and_goes_has_one_holder(tmp_path):
    """Its file is removed each time; two holders would find the marker of the other."""
    command = [sys.executable, "-c", EXCLUDE, tmp_path / "lock", tmp_path / "marker"]
    processes = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(3)]
    counts = [int(process.communicate()[0]) for process in processes]
    assert all(process.returncode == 0 for process in processes)
    assert sum(counts) > 100
