"""The operator on many threads, in many sessions, over many calls."""

import hashlib
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import onnx
import pytest
from operator_layers import Sizes, random_layer, random_tokens
from operator_models import layer_model, session

SIZES = [
    Sizes(depth=8, hidden_size=96, output_size=64),
    Sizes(depth=5, leaf_size=4, hidden_size=64, output_size=96, n_trees=3),
]
on_linux = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")


def digest(sizes: Sizes, n_tokens: int, n_threads: int) -> str:
    """Return a digest of what a new session computes."""
    x = random_tokens((n_tokens, sizes.hidden_size))
    y, leaf = session(layer_model(random_layer(sizes)), n_threads).run(None, {"x": x})
    return hashlib.sha256(y.tobytes() + leaf.tobytes()).hexdigest()


@pytest.mark.parametrize("n_tokens", [1, 127, 128, 129, 3000])
@pytest.mark.parametrize("sizes", SIZES, ids=str)
def test_same_bits_for_any_number_of_threads(sizes: Sizes, n_tokens: int) -> None:
    assert len({digest(sizes, n_tokens, n_threads) for n_threads in (1, 2, 3, 8)}) == 1


def run_python(code: str) -> str:
    """Run code in a new process, where the modules of these tests can be imported."""
    path = os.pathsep.join([str(Path(__file__).parent), *sys.path])
    environment = {**os.environ, "PYTHONPATH": path}
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@on_linux
def test_same_bits_on_one_processor() -> None:
    code = """if True:
        import os
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
        from test_operator_threads import SIZES, digest
        print(digest(SIZES[0], 3000, 2))"""
    assert run_python(code) == digest(SIZES[0], 3000, 2)


def test_calls_at_once_give_the_results_of_one() -> None:
    sizes = SIZES[0]
    opened = session(layer_model(random_layer(sizes)), 2)
    xs = [random_tokens((n, sizes.hidden_size), seed=n) for n in (1, 40, 200, 900)]
    expected = [opened.run(None, {"x": x})[0] for x in xs]

    def work(i: int) -> bool:
        results = [opened.run(None, {"x": x})[0] for x in xs * 5]
        return all(map(np.array_equal, results, expected * 5))

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(work, range(8)))


def test_sessions_at_once_give_the_results_of_one() -> None:
    expected = digest(SIZES[1], 500, 2)
    with ThreadPoolExecutor(8) as pool:
        assert set(pool.map(lambda _: digest(SIZES[1], 500, 2), range(8))) == {expected}


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork")
def test_sessions_opened_after_fork() -> None:
    code = """if True:
        import os
        from test_operator_threads import SIZES, digest
        parent = digest(SIZES[0], 3000, 2)
        child = os.fork()
        if child == 0:
            os._exit(0 if digest(SIZES[0], 3000, 2) == parent else 1)
        print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))"""
    assert run_python(code) == "0"


def memory(key: str) -> int:
    """Return a line of /proc/self/status, in bytes."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(f"{key}:"):
            return int(line.split()[1]) * 1024
    raise KeyError(key)


@on_linux
@pytest.mark.slow
@pytest.mark.parametrize("n_threads", [1, 2])
def test_memory_does_not_grow_with_calls(n_threads: int) -> None:
    layer = random_layer(SIZES[1])
    opened = session(layer_model(layer), n_threads)
    xs = [{"x": random_tokens((n, 64))} for n in (1, 3, 100)]

    def call(n: int) -> None:
        for i in range(n):
            opened.run(None, xs[2 if i % 50 == 0 else i % 2])

    call(2_000)
    before = memory("RssAnon")
    call(100_000)
    assert memory("RssAnon") - before < 1 << 20


@on_linux
def test_sessions_share_weights_of_a_file(tmp_path: Path) -> None:
    layer = random_layer(Sizes(depth=10, hidden_size=4096, output_size=4096))  # 64 MB
    source = layer_model(layer)
    path = tmp_path / "model.onnx"
    onnx.save(source, path, save_as_external_data=True, location="weights")
    assert (tmp_path / "weights").stat().st_size > 60 << 20
    x = random_tokens((600, 4096))
    sessions, growth = [], []
    for _ in range(2):
        before = memory("RssAnon")
        sessions.append(session(path))
        growth.append(memory("RssAnon") - before)
        assert len(sessions[-1].run(["leaf"], {"x": x})[0]) == 600
    assert max(growth) < 8 << 20
