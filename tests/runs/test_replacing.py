"""Files of results take the place of others when they are whole, and never before."""

import os
import shutil
import subprocess

import numpy as np
import pytest

from ultrafastbert.runs.outputs import replacing


def write(path, content=b"new", fail=False):
    with replacing(path) as file:
        file.write(content)
        if fail:
            raise KeyboardInterrupt


def test_a_file_is_there_when_it_is_whole(tmp_path):
    path = tmp_path / "with spaces ünï.npy"
    write(path)
    write(path, b"newer")
    assert path.read_bytes() == b"newer"
    assert os.listdir(tmp_path) == [path.name]


def test_what_was_there_stays_after_an_interruption(tmp_path):
    path = tmp_path / "file"
    write(path, b"old")
    with pytest.raises(KeyboardInterrupt):
        write(path, fail=True)
    assert path.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["file"]


def test_links_stay_links(tmp_path):
    (tmp_path / "folder").mkdir()
    (tmp_path / "link").symlink_to("folder/target")
    write(tmp_path / "link")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "folder" / "target").read_bytes() == b"new"


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="the system has no /dev/full")
def test_devices_stay_devices():
    write("/dev/null")
    with pytest.raises(OSError, match="No space left on device; free some room") as error:
        write("/dev/full")
    assert error.value.filename == "/dev/full"
    assert os.path.exists("/dev/full")


@pytest.mark.parametrize("values", [1, 200_000])
def test_a_full_disk_leaves_what_was_there(tmp_path, values):
    if os.name != "posix" or os.geteuid() or not shutil.which("mount"):
        pytest.skip("only root mounts a small disk")
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=64k", "none", disk]
    if subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("this system lets nobody mount")
    try:
        write(disk / "vectors.npy", b"old")
        if values == 1:
            write(disk / "vectors.npy", b"new")
            assert (disk / "vectors.npy").read_bytes() == b"new"
            return
        with (
            pytest.raises(OSError, match="free some room") as error,
            replacing(disk / "vectors.npy") as file,
        ):
            np.save(file, np.zeros(values))
        assert error.value.filename == str(disk / "vectors.npy")
        assert (disk / "vectors.npy").read_bytes() == b"old"
        assert os.listdir(disk) == ["vectors.npy"]
    finally:
        subprocess.run(["umount", disk], check=True)
