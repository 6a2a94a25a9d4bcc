"""The end of a process that called layers without gradients is quiet."""

import subprocess
import sys

import pytest

START = """
import threading, time, torch
from ultrafastbert import FastFeedForward

def call(layer):
    with torch.no_grad():
        for _ in range(3):
            layer(torch.randn(5, 8))
"""
ENDINGS = {
    "a daemon thread that holds a layer": """
def work():
    layer = FastFeedForward(8, depth=3)
    call(layer)
    ready.set()
    time.sleep(60)

ready = threading.Event()
threading.Thread(target=work, daemon=True).start()
ready.wait()
""",
    "a layer in a cycle and in a global": """
layer = FastFeedForward(8, depth=3)
layer.itself = [layer]
call(layer)
""",
    "an exception": """
layer = FastFeedForward(8, depth=3)
call(layer)
import atexit
atexit.register(call, layer)
raise SystemExit(0)
""",
}
WORKERS = """
class Tokens(torch.utils.data.Dataset):
    def __init__(self):
        self.layer = FastFeedForward(8, depth=3)
    def __len__(self):
        return 8
    def __getitem__(self, i):
        with torch.no_grad():
            return self.layer(torch.full((8,), float(i)))

if __name__ == "__main__":
    data = Tokens()
    options = {"num_workers": 2, "multiprocessing_context": "spawn", "persistent_workers": True}
    loader = torch.utils.data.DataLoader(data, batch_size=4, **options)
    found = torch.cat(list(loader))
    assert torch.equal(found, torch.stack([data[i] for i in range(8)]))
"""


@pytest.mark.parametrize("ending", ENDINGS.values(), ids=ENDINGS)
def test_nothing_is_said_at_exit(ending):
    done = subprocess.run(
        [sys.executable, "-c", START + ending], capture_output=True, text=True, timeout=300
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


@pytest.mark.slow
def test_spawned_workers_end_quietly(tmp_path):
    script = tmp_path / "script.py"
    script.write_text(START + WORKERS, encoding="utf-8")
    done = subprocess.run([sys.executable, script], capture_output=True, text=True, timeout=300)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
