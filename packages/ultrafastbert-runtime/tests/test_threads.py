"""The budget of threads: cores that the process may use, and limits of control groups."""

import os

import pytest
from ultrafastbert_runtime import threads
from ultrafastbert_runtime.threads import cpu_quota, thread_budget


def write(path, text):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def test_nothing_limits(tmp_path):
    assert cpu_quota(tmp_path / "none", tmp_path) is None
    write(tmp_path / "own", "0::/\nbroken\n")
    assert cpu_quota(tmp_path / "own", tmp_path) is None
    write(tmp_path / "cpu.max", "max 100000")
    assert cpu_quota(tmp_path / "own", tmp_path) is None


@pytest.mark.parametrize("path", ["a/cpu.max", "a/b/cpu.max", "cpu.max"])
def test_groups_of_version_2_limit_those_below(tmp_path, path):
    write(tmp_path / "own", "0::/a/b\n")
    write(tmp_path / "root" / path, "150000 100000\n")
    write(tmp_path / "root" / "a" / "b" / "c" / "cpu.max", "1 100000\n")
    assert cpu_quota(tmp_path / "own", tmp_path / "root") == 1.5


@pytest.mark.parametrize("place", ["docker/123", ""])
def test_groups_of_version_1(tmp_path, place):
    """In a container, the folder that its path names is the host's."""
    write(tmp_path / "own", "5:memory:/x\n4:cpu,cpuacct:/docker/123\n")
    group = tmp_path / "root" / "cpu,cpuacct" / place
    write(group / "cpu.cfs_quota_us", "400000")
    write(group / "cpu.cfs_period_us", "100000")
    assert cpu_quota(tmp_path / "own", tmp_path / "root") == 4
    write(group / "cpu.cfs_quota_us", "-1")
    assert cpu_quota(tmp_path / "own", tmp_path / "root") is None


@pytest.mark.parametrize(("quota", "budget"), [(None, 3), (0.5, 1), (2.9, 2), (100, 3)])
def test_the_smaller_limit_counts(monkeypatch, quota, budget):
    monkeypatch.setattr(threads, "_cores", lambda: 3)
    monkeypatch.setattr(threads, "cpu_quota", lambda: quota)
    assert thread_budget() == budget


@pytest.mark.skipif(not hasattr(os, "sched_getaffinity"), reason="the system has no affinity")
def test_affinity_and_cores_count(monkeypatch, tmp_path):
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 1, 2, 3, 9})
    monkeypatch.setattr(threads, "CPUS", tmp_path)
    monkeypatch.setattr(threads, "cpu_quota", lambda: None)
    assert thread_budget() == 5
    for cpu in (0, 1, 2, 3):
        path = tmp_path / f"cpu{cpu}" / "topology" / "thread_siblings_list"
        write(path, f"{cpu % 2},{cpu % 2 + 2}")
    assert thread_budget() == 3
