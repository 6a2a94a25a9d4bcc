"""The native kernel: threads, forks, instruction sets. Its values are tested in test_kernels.py."""

import os
import subprocess
import sys
import threading
from collections.abc import Iterator

import pytest
import torch
from torch import Tensor

import ultrafastbert
from ultrafastbert.fff import tree
from ultrafastbert.fff.quantization import Weights
from ultrafastbert.fff.spec import TreeSpec
from ultrafastbert.kernels import KERNELS, native

NATIVE, GATHER = KERNELS["native"], KERNELS["gather"]
if not NATIVE.is_available():
    pytest.skip("built without a native core", allow_module_level=True)

# T, H, O, K, D, L
SHAPES = [
    (0, 3, 5, 1, 2, 1),
    (0, 3, 5, 2, 2, 1),
    (1, 768, 768, 1, 6, 1),
    (5, 1, 3, 2, 0, 3),
    (5, 63, 1, 1, 3, 2),
    (70, 3, 63, 3, 4, 1),
    (90, 24, 1040, 1, 9, 1),  # gradients beyond the cache
    (200, 64, 32, 2, 8, 2),  # several large trees
    (1200, 16, 24, 3, 3, 1),  # several passes of small trees
    (2100, 64, 66, 2, 10, 1),  # several passes of large trees, several segments of gradients
    (600, 136, 72, 1, 7, 2),
]
NEEDS = (True, True, True, True)


@pytest.fixture(autouse=True)
def _restore_threads() -> Iterator[None]:
    n_threads = torch.get_num_threads()
    yield
    torch.set_num_threads(n_threads)


def make_inputs(shape: tuple[int, ...], dtype: torch.dtype = torch.float32) -> list[Tensor]:
    """Return x, w_in, b_in, w_out, grad_y."""
    n_tokens, hidden, output, n_trees, depth, leaf_size = shape
    generator = torch.Generator().manual_seed(0)
    rows = tree.n_rows(depth, leaf_size)
    sizes = [(n_tokens, hidden), (n_trees, rows, hidden), (n_trees, rows)]
    sizes += [(n_trees, rows, output), (n_tokens, output)]
    return [torch.randn(size, generator=generator, dtype=dtype) for size in sizes]


def run(shape: tuple[int, ...], inputs: list[Tensor], kernel=NATIVE) -> list[Tensor]:
    """Return y, leaf, logits and the four gradients."""
    x, w_in, b_in, w_out, grad_y = inputs
    spec = TreeSpec(*shape[4:])
    out = kernel.forward(x, w_in, b_in, w_out, spec)
    rest = (x, w_in, w_out, *out[1:], spec, NEEDS)
    return [*out, *kernel.backward(grad_y, *rest)]


def same(first: list[Tensor], second: list[Tensor]) -> bool:
    return all(torch.equal(a, b) for a, b in zip(first, second, strict=True))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("shape", SHAPES)
def test_results_do_not_depend_on_the_number_of_threads(shape, dtype):
    inputs = make_inputs(shape, dtype)
    torch.set_num_threads(1)
    expected = run(shape, inputs)
    for n_threads in (1, 2, 4):
        torch.set_num_threads(n_threads)
        assert same(run(shape, inputs), expected)


def test_a_token_does_not_depend_on_the_others():
    shape = SHAPES[-1]
    x, w_in, b_in, w_out, grad_y = make_inputs(shape)
    whole = run(shape, [x, w_in, b_in, w_out, grad_y])
    for tokens in (slice(0, 1), slice(3, 5), slice(50, 203)):
        part = run(shape, [x[tokens], w_in, b_in, w_out, grad_y[tokens]])
        for i in range(4):  # y, leaf, logits, grad_x
            assert torch.equal(part[i], whole[i][tokens])


def test_concurrent_calls():
    shape = SHAPES[-1]
    inputs = make_inputs(shape)
    torch.set_num_threads(2)
    expected = run(shape, inputs)
    agreed = []

    def work() -> None:
        torch.set_num_threads(2)
        agreed.extend(same(run(shape, inputs), expected) for _ in range(10))

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert agreed == [True] * 40


def run_python(code: str, instruction_set: str) -> subprocess.CompletedProcess[str]:
    # A stand-in for the package's __init__, whose imports take seconds.
    stand_in = (
        "import sys, types\n"
        "sys.modules['ultrafastbert'] = package = types.ModuleType('ultrafastbert')\n"
        f"package.__path__ = {list(ultrafastbert.__path__)!r}\n"
    )
    path = os.pathsep.join([os.path.dirname(__file__), *sys.path])
    env = {**os.environ, "PYTHONPATH": path, "ULTRAFASTBERT_ISA": instruction_set}
    command = [sys.executable, "-c", stand_in + code]
    return subprocess.run(command, env=env, capture_output=True, text=True, timeout=300)


@pytest.mark.slow
@pytest.mark.parametrize("name", native.available_instruction_sets())
def test_every_instruction_set(name):
    done = run_python(
        "import test_native as t; t.check_against_gather(); t.check_after_fork()", name
    )
    assert done.returncode == 0, done.stderr


def check_after_fork() -> None:
    """Compare a child's results with its parent's; not for a process with other threads."""
    if not hasattr(os, "fork"):
        return
    torch.set_num_threads(2)
    inputs = make_inputs(SHAPES[-1])
    expected = run(SHAPES[-1], inputs)
    child = os.fork()
    if child == 0:
        results = run(SHAPES[-1], inputs)
        torch.set_num_threads(1)  # the comparison would wait for PyTorch's threads, which are gone
        os._exit(0 if same(results, expected) else 1)
    assert os.waitpid(child, 0)[1] == 0
    assert same(run(SHAPES[-1], inputs), expected)


def check_against_gather() -> None:
    """Compare all shapes with the gather kernel, with this process's instruction set."""
    assert native.instruction_set() == os.environ["ULTRAFASTBERT_ISA"]
    for shape in SHAPES:
        # In float64 no decision is near enough to 0 to be flipped by rounding.
        inputs = make_inputs(shape, torch.float64)
        for a, b in zip(run(shape, inputs), run(shape, inputs, GATHER), strict=True):
            torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-9)
        inputs = [t.float() for t in inputs]
        spec = TreeSpec(*shape[4:])
        y, leaf, logits = NATIVE.forward(*inputs[:4], spec)
        x, w_in, _, w_out, grad_y = inputs
        rest = (x, w_in, w_out, leaf, logits, spec, NEEDS)
        pair = NATIVE.backward(grad_y, *rest), GATHER.backward(grad_y, *rest)
        for a, b in zip(*pair, strict=True):
            scale = b.abs().max().item() if b.numel() else 0.0
            torch.testing.assert_close(a, b, rtol=0, atol=1e-5 * scale)
        assert y.isfinite().all()


def test_unknown_instruction_set():
    done = run_python(
        "from ultrafastbert_runtime import _native; _native.instruction_set()", "sse9"
    )
    assert done.returncode == 1
    assert "ULTRAFASTBERT_ISA='sse9' is not an instruction set of this machine" in done.stderr


def test_every_element_is_written(monkeypatch):
    def poison(t: Tensor) -> Tensor:
        return t.fill_(float("nan") if t.is_floating_point() else -1)

    new_empty, empty_like = Tensor.new_empty, torch.empty_like
    monkeypatch.setattr(Tensor, "new_empty", lambda *a, **k: poison(new_empty(*a, **k)))
    monkeypatch.setattr(torch, "empty_like", lambda *a, **k: poison(empty_like(*a, **k)))
    for shape in SHAPES:
        for out in run(shape, make_inputs(shape)):
            assert out.isfinite().all()
            assert out.is_floating_point() or (out >= 0).all()


def test_rows_not_visited_are_not_read_and_get_no_gradient():
    shape = SHAPES[-1]
    x, w_in, b_in, w_out, grad_y = make_inputs(shape)
    leaf = run(shape, [x, w_in, b_in, w_out, grad_y])[1]
    x, grad_y, leaf = x[:3], grad_y[:3], leaf[:3]
    unvisited = torch.ones(w_in.shape[1], dtype=torch.bool)
    unvisited[tree.path_rows(leaf, *shape[4:]).flatten()] = False
    for weight in (w_in, b_in, w_out):
        weight[0, unvisited] = float("nan")
    out = run(shape, [x, w_in, b_in, w_out, grad_y])
    assert torch.equal(out[1], leaf)
    assert all(t.isfinite().all() for t in out)
    assert all((t[0, unvisited] == 0).all() for t in out[4:])


def test_nan_and_zero_go_left():
    x = torch.tensor([[0.0], [float("nan")], [1.0]])
    weight = torch.ones(1, 7, 1)
    _, leaf, _ = NATIVE.forward(x, weight, torch.zeros(1, 7), weight, TreeSpec(2, 1, "relu"))
    assert leaf.flatten().tolist() == [0, 0, 3]


def test_gradients_that_are_not_needed():
    shape = SHAPES[-1]
    x, w_in, b_in, w_out, grad_y = make_inputs(shape)
    _, leaf, logits, *expected = run(shape, [x, w_in, b_in, w_out, grad_y])
    for needs in [(True, False, False, False), (False, True, False, True)]:
        rest = (x, w_in, w_out, leaf, logits, TreeSpec(*shape[4:]), needs)
        for got, full, needed in zip(NATIVE.backward(grad_y, *rest), expected, needs, strict=True):
            assert torch.equal(got, full) if needed else got is None


def test_bad_arguments_raise():
    x, w_in, b_in, w_out, grad_y = make_inputs(SHAPES[3])
    weights, spec = Weights(w_in, b_in, w_out), TreeSpec(3, 2)
    deep = TreeSpec(3, 2)
    object.__setattr__(deep, "depth", 31)  # the spec's own check comes first otherwise
    with pytest.raises(ValueError, match=r"depth=31 must be within 0\.\.30"):
        native._layer(torch.float32, weights, deep)
    with pytest.raises(ValueError, match="hidden_size=0 must be within"):
        native._layer(torch.float32, weights._replace(w_in=w_in[..., :0]), spec)
    with pytest.raises(ValueError, match="both be float64, or neither"):
        native._layer(torch.float64, weights, spec)
    with pytest.raises(ValueError, match="int8 weights need scales"):
        native._layer(torch.float32, weights._replace(w_in=w_in.to(torch.int8)), spec)
    _, leaf, logits = NATIVE.forward(x, w_in, b_in, w_out, spec)
    with pytest.raises(ValueError, match=r"leaf holds 8, which is not within 0\.\.7"):
        NATIVE.backward(grad_y, x, w_in, w_out, leaf * 0 + 8, logits, spec, NEEDS)
